"""Three groups whose members come from three clients and which are sealed at any moment; alerts.

A test runs daemons through it, kills them, and lets the story judge what arrived. A fourth group
stands still until the last phase.
"""

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

from poller.audit.audit import Audit, number_lines
from tests.fakes.receiver import Receiver
from tests.kill.campaigns import Campaigns
from tests.kill.test_sigkill import is_whole
from tests.oracle import AlertRule, Judgement, judge

__all__ = ["KILLS", "MEMBERS", "NAMES", "STILL", "Clients", "GroupStory"]

KILLS = 20
MEMBERS = 40
NAMES = ("early", "between", "late")
STILL = "still"
"""The group that stands still: its members are sealed by their number."""
_STILL_MEMBERS = 2
_CLIENTS = 3
_BOTH = ("failed", "undelivered")
_RULES = (
    AlertRule(name="bounces", counters=_BOTH, ratio=0.04, at_least=200),
    AlertRule(name="many", counters=_BOTH, count=150),
    AlertRule(name="campaign", of="group", counters=_BOTH, ratio=0.03, at_least=3000),
    AlertRule(name="campaign_many", of="group", counters=_BOTH, count=2000),
    AlertRule(name="stalled", stalled=4),
    AlertRule(name="campaign_stalled", of="group", stalled=4),
)
Event = dict[str, Any]
Connect = Callable[[Random], socket.socket]


class GroupStory:
    """The operations, their groups, the rules, and the moments of the seals; all from one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = Random(seed)  # noqa: S311 - repeatable with the seed
        self.api = Campaigns(
            seed=seed, number=MEMBERS * len(NAMES), phases=KILLS, steps=2, still=_STILL_MEMBERS
        )
        ids = sorted(self.api.campaigns.keys() - set(self.api.still))
        self.chance.shuffle(ids)
        self.groups = {name: ids[place :: len(NAMES)] for place, name in enumerate(NAMES)}
        self.groups[STILL] = self.api.still
        self.expected = {"early": MEMBERS, STILL: _STILL_MEMBERS}
        """What is sealed before its members are there."""
        self.seal_between = self.chance.randint(KILLS // 3, KILLS - 1)
        """The phase in which the group of that name is sealed."""

    @property
    def settings(self) -> dict[str, str]:
        """The settings of a daemon that emits every change at once, and its alert rules.

        They are named like `api__timeout`.
        """
        rules = {rule.name: _settings_of(rule) for rule in _RULES}
        return {
            "api__requests_per_second": "400",
            "polling__min_interval": "50ms",
            "polling__max_interval": "500ms",
            "polling__progress_interval": "0s",
            "alerts": json.dumps(rules),
        }

    def judge(self, arrived: Mapping[str, Sequence[Event]]) -> dict[str, Judgement]:
        """Judge what arrived at each sink, in order."""
        ends = {name: campaign.end for name, campaign in self.api.campaigns.items()}
        found = {
            sink: judge(events, ends=ends, groups=self.groups, alerts=_RULES)
            for sink, events in arrived.items()
        }
        problems = {sink: one.problems for sink, one in found.items() if one.problems}
        assert problems == {}, f"KILL_SEED={self.seed}"
        for one in found.values():
            self._check_alerts(one)
        return found

    def _check_alerts(self, judged: Judgement) -> None:
        """Assert that each rule fired, and that what stood still was noticed."""
        fired: dict[str, set[str]] = {rule.name: set() for rule in _RULES}
        for event in judged.events.values():
            if event["type"].endswith(".alert"):
                fired[event["data"]["alert"]["name"]].add(event["subject"])
        assert set(self.api.still) <= fired["stalled"], f"KILL_SEED={self.seed}"
        assert STILL in fired["campaign_stalled"], f"KILL_SEED={self.seed}"
        assert all(fired.values()), f"KILL_SEED={self.seed}: {fired}"

    @contextmanager
    def clients(self, connect: Connect) -> Iterator["Clients"]:
        """Let clients register all members; they stop at the end of the block."""
        clients = Clients(self.groups, self.chance, connect)
        clients.start()
        try:
            yield clients
        finally:
            clients.stop()


def _settings_of(rule: AlertRule) -> dict[str, object]:
    if rule.stalled is not None:
        return {"of": rule.of, "stalled": rule.stalled}
    thresholds = {"ratio": rule.ratio, "count": rule.count}
    given = {name: value for name, value in thresholds.items() if value is not None}
    return {"of": rule.of, "counters": rule.counters, "at_least": rule.at_least, **given}


class Clients:
    """Threads that register members in batches, again and again until each is acknowledged."""

    def __init__(
        self, groups: Mapping[str, Sequence[str]], chance: Random, connect: Connect
    ) -> None:
        moving = [
            {"id": one, "kind": "messages", "group": name}
            for name, members in groups.items()
            if name != STILL
            for one in members
        ]
        chance.shuffle(moving)
        # first of all, so that these stand still for long
        still = [{"id": one, "kind": "messages", "group": STILL} for one in groups[STILL]]
        wanted = [*still, *moving]
        self._connect = connect
        self._stop = threading.Event()
        self._failures: list[str] = []
        self._threads = [
            threading.Thread(target=self._register, args=(wanted[n::_CLIENTS], chance.random()))
            for n in range(_CLIENTS)
        ]

    def start(self) -> None:
        """Let them begin."""
        for thread in self._threads:
            thread.start()

    def wait(self) -> None:
        """Wait until all is acknowledged."""
        for thread in self._threads:
            thread.join(timeout=120)
            assert not thread.is_alive()
        assert self._failures == []

    def stop(self) -> None:
        """Give up."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _register(self, wanted: list[dict[str, str]], seed: float) -> None:
        chance = Random(seed)  # noqa: S311 - repeatable with the seed
        while wanted and not self._stop.is_set():
            batch = wanted[: chance.randint(1, 8)]
            # some of them twice: a repeated registration changes nothing
            body = {"operations": [*batch, chance.choice(batch)]}
            with suppress(OSError, http.client.HTTPException):
                answered = post(self._connect(chance), "/v1/operations", body)["results"]
                self._failures += [str(one) for one in answered if one["status"] >= 400]
                wanted = wanted[len(batch) :]
            self._stop.wait(chance.uniform(0.05, 0.6))


def post(connected: socket.socket, path: str, document: object) -> Any:  # noqa: ANN401 - JSON
    """Post to a control API over this connection, which is closed then; returns the answer.

    :raises http.client.HTTPException: where it is no success, or cut off.
    """
    connection = http.client.HTTPConnection("localhost", timeout=5)
    with connected as connection.sock:
        connection.sock.settimeout(5)
        connection.request("POST", path, json.dumps(document), {"content-type": "application/json"})
        with connection.getresponse() as answer:
            if answer.status >= 300:
                raise http.client.HTTPException(answer.status)
            return json.loads(answer.read() or b"null")


def connect_to(address: Path) -> socket.socket:
    """Connect to a unix socket.

    :raises OSError: where nobody listens.
    """
    connected = socket.socket(socket.AF_UNIX)
    try:
        connected.settimeout(5)
        connected.connect(str(address))
    except OSError:
        connected.close()
        raise
    return connected


def accepted(receiver: Receiver) -> list[Event]:
    """Return the events that a receiver took, in order."""
    return [one.event for one in receiver.received if one.accepted and is_whole(one)]


def audit(path: Path) -> None:
    """Assert that the product's own audit of a file agrees."""
    with path.open("rb") as file:
        assert list(Audit(ended=True).check(number_lines("events", file))) == []
