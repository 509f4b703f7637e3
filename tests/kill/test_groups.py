"""Groups over the real process: members come from three clients, seals at any moment, and SIGKILL.

`KILL_SEED` repeats the story: the operations, the groups, the moments, the failures of the webhook.
"""

import http.client
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest

from poller.audit.audit import Audit, number_lines
from poller.store.store import Store
from poller.tracking.pacing import Policy
from poller.tracking.watch import AccountScope
from tests.fakes.api import ACCOUNT
from tests.fakes.process import eventually, poller
from tests.fakes.receiver import Answer, Receiver
from tests.kill.campaigns import Campaigns
from tests.kill.lives import life
from tests.kill.test_sigkill import SECRET, Fickle, environment, is_whole
from tests.oracle import judge

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

SEED = int(os.environ.get("KILL_SEED", "0")) or Random().randrange(1, 1_000_000)  # noqa: S311 - told
KILLS = 20
MEMBERS = 40
NAMES = ("early", "between", "late")
CLIENTS = 3
# on memory where there is such a place: a crash here is one of the process, not of the disk
FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a private directory in it
Event = dict[str, Any]


def test_a_group_ends_once_whatever_is_killed() -> None:
    """After its seal and its last member, with exact sums, in each sink."""
    with tempfile.TemporaryDirectory(prefix="poller-", dir=FAST) as directory:
        _kill_and_judge(Path(directory))


def _kill_and_judge(directory: Path) -> None:
    chance = Random(SEED)  # noqa: S311 - a story that can be told again
    fickle = Fickle(Random(chance.random()))  # noqa: S311 - as above
    with (
        Campaigns(seed=SEED, number=MEMBERS * len(NAMES), phases=KILLS, steps=2) as api,
        Receiver(secret=SECRET, default=fickle) as receiver,
    ):
        ids = sorted(api.campaigns)
        chance.shuffle(ids)
        groups = {name: ids[place :: len(NAMES)] for place, name in enumerate(NAMES)}
        door = directory / "door"
        variables = {**environment(api, receiver.url), "POLLER_SERVER__LISTEN": f"unix:{door}"}
        seal_at = {"between": chance.randint(KILLS // 3, KILLS), "late": KILLS + 1}
        sealer = Sealer(directory, api.base_url)
        with _clients(door, groups, chance) as clients:
            for number in range(KILLS):
                api.phase = number
                with life("run", cwd=directory, environment=variables, number=number) as daemon:
                    daemon.await_log("daemon.started")
                    if number == 0:
                        # before the first member, as far as the clients allow
                        sealer.seal("early", MEMBERS)
                    if seal_at["between"] == number:
                        clients.wait()
                        sealer.seal("between", None)
                    time.sleep(chance.uniform(0, 0.9))  # the moment of the kill
                    daemon.kill()
            with life("run", cwd=directory, environment=variables, number=KILLS) as daemon:
                daemon.await_log("daemon.started")
                clients.wait()
        if seal_at["between"] == KILLS:
            sealer.seal("between", None)
        api.phase = KILLS
        receiver.answer_always(Answer())
        _run_until_idle(directory, variables)
        # every operation has ended by now
        sealer.seal("late", None)
        _run_until_idle(directory, variables)
        eventually(lambda: len(_completed(receiver)) == len(NAMES))
    arrived = {
        "stdout": _lines(directory / "stdout.ndjson"),
        "file": _lines(directory / "events.ndjson"),
        "webhook": [one.event for one in receiver.received if one.accepted and is_whole(one)],
    }
    ends = {name: campaign.end for name, campaign in api.campaigns.items()}
    found = {sink: judge(events, ends=ends, groups=groups) for sink, events in arrived.items()}
    problems = {sink: one.problems for sink, one in found.items() if one.problems}
    assert problems == {}, f"KILL_SEED={SEED}"
    with (directory / "events.ndjson").open("rb") as file:
        assert list(Audit(ended=True).check(number_lines("events", file))) == []
    for name, sealed_at in sealer.sealed.items():
        [end] = [one for one in found["file"].events.values() if _is_end(one, name)]
        assert end["time"] >= sealed_at, f"KILL_SEED={SEED}: {name}"
    for log in directory.glob("log.*"):
        assert "Traceback" not in log.read_text(), log.read_text()


class Sealer:
    """Seals beside the daemon, as a command does; remembers when it began to."""

    def __init__(self, directory: Path, base_url: str) -> None:
        self.sealed: dict[str, str] = {}
        self._url = f"sqlite:///{directory / 'poller.db'}"
        self._scope = AccountScope(account=ACCOUNT, base_url=base_url)

    def seal(self, name: str, expected: int | None) -> None:
        """Seal a group now, or when it has so many members."""
        if expected is None:
            self.sealed[name] = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
        anyio.run(self._seal, name, expected)

    async def _seal(self, name: str, expected: int | None) -> None:
        store = await Store.open(self._url, self._scope, as_daemon=False)
        try:
            change = await store.groups.seal(name, expected, policy=Policy(progress_interval=0))
        finally:
            await store.aclose()
        assert (change.group.sealed_at is None) is (expected is not None), change.group


class Clients:
    """Threads that register members in batches, again and again until each is acknowledged."""

    def __init__(self, door: Path, groups: Mapping[str, Sequence[str]], chance: Random) -> None:
        wanted = [
            {"id": one, "kind": "messages", "group": name}
            for name, members in groups.items()
            for one in members
        ]
        chance.shuffle(wanted)
        self._door = door
        self._stop = threading.Event()
        self._failures: list[str] = []
        self._threads = [
            threading.Thread(target=self._register, args=(wanted[n::CLIENTS], chance.random()))
            for n in range(CLIENTS)
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
        chance = Random(seed)  # noqa: S311 - a story that can be told again
        while wanted and not self._stop.is_set():
            batch = wanted[: chance.randint(1, 8)]
            # some of them twice: a repeated registration changes nothing
            with suppress(OSError, http.client.HTTPException):
                answered = self._post([*batch, chance.choice(batch)])
                self._failures += [one for one in answered if '"status": 4' in one]
                wanted = wanted[len(batch) :]
            self._stop.wait(chance.uniform(0.05, 0.6))

    def _post(self, batch: Sequence[dict[str, str]]) -> list[str]:
        connection = http.client.HTTPConnection("poller", timeout=5)
        # its own: a client that connects for itself leaves a socket behind where it is refused
        with socket.socket(socket.AF_UNIX) as connection.sock:
            connection.sock.settimeout(5)
            connection.sock.connect(str(self._door))
            body = json.dumps({"operations": batch})
            connection.request("POST", "/v1/operations", body, {"content-type": "application/json"})
            with connection.getresponse() as answer:
                if answer.status != http.client.OK:
                    raise http.client.HTTPException(answer.status)
                return [json.dumps(one) for one in json.loads(answer.read())["results"]]


@contextmanager
def _clients(door: Path, groups: Mapping[str, Sequence[str]], chance: Random) -> Iterator[Clients]:
    clients = Clients(door, groups, chance)
    clients.start()
    try:
        yield clients
    finally:
        clients.stop()


def _run_until_idle(cwd: Path, variables: dict[str, str]) -> None:
    """Let a daemon end what is left; what it printed is added to the lines of the lives."""
    done = poller(
        "run", "--until-idle", "--timeout", "8m", cwd=cwd, environment=variables, timeout=500
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with (cwd / "stdout.ndjson").open("a") as out:
        out.write(done.stdout)


def _completed(receiver: Receiver) -> list[Event]:
    return [
        one.event
        for one in receiver.received
        if one.accepted and is_whole(one) and one.event["type"] == "group.completed"
    ]


def _is_end(event: Event, name: str) -> bool:
    return (event["type"], event["subject"]) == ("group.completed", name)


def _lines(path: Path) -> list[Event]:
    return [json.loads(line) for line in path.read_text().splitlines()]
