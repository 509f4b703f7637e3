"""Groups that three daemons share: members come to any of them, and some are killed meanwhile."""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from random import Random

import pytest

from tests.cluster.fleet import Fleet, Member
from tests.fakes.api import FakeApi, operation, operation_id
from tests.fakes.process import eventually
from tests.fakes.receiver import Answer, Receiver
from tests.oracle import judge

pytestmark = pytest.mark.slow

SEED = int(os.environ.get("KILL_SEED", "0")) or Random().randrange(1, 1_000_000)  # noqa: S311 - told
NAMES = ("early", "between", "late")
MEMBERS = 40


def test_a_group_ends_once_whichever_daemon_sees_it(fleet: Fleet, api: FakeApi) -> None:
    """Exact sums after the seal and the last member; the webhook fails a third of the time."""
    chance = Random(SEED)  # noqa: S311 - a story that can be told again
    ids = [operation_id(number) for number in range(MEMBERS * len(NAMES))]
    ends = {}
    for one in ids:
        failed = chance.randint(0, 9)
        end = operation(one, "COMPLETED", updated=3, total=90, delivered=90 - failed, failed=failed)
        way = [
            operation(one, "PROCESSING", updated=1, total=90, queued=60, delivered=30),
            operation(one, "PROCESSING", updated=2, total=90, queued=20, delivered=70),
        ]
        api.script(one, [*way, end])
        ends[one] = end
    chance.shuffle(ids)
    groups = {name: ids[place :: len(NAMES)] for place, name in enumerate(NAMES)}

    def fickle(*_: object) -> Answer:
        return Answer(status=503) if chance.random() < 1 / 3 else Answer()

    with Receiver(default=fickle) as receiver:
        settings = {
            "sinks": json.dumps({"app": {"type": "webhook", "url": receiver.url}}),
            "api__requests_per_second": "100",
        }
        daemons = fleet.start(3, **settings)
        seal(daemons[0], "early", MEMBERS)
        wanted = [{"id": one, "group": name} for name, own in groups.items() for one in own]
        chance.shuffle(wanted)
        for number, start in enumerate(range(0, len(wanted), 10)):
            register(daemons, wanted[start : start + 10], chance)
            if number in {3, 7}:
                daemons.pop(chance.randrange(3)).process.kill()
                daemons += fleet.start(**settings)
        seal(chance.choice(daemons), "between", None)
        eventually(lambda: states(daemons[0]) == {"open": 1, "ended": 2}, timeout=240)
        eventually(lambda: running(daemons[0]) == 0, timeout=120)
        seal(chance.choice(daemons), "late", None)
        eventually(lambda: len(completed(receiver)) == len(NAMES), timeout=120)
        eventually(lambda: waiting(daemons[0]) == 0, timeout=240)
        arrived = [one.event for one in receiver.received if one.accepted]
    found = judge(arrived, ends=ends, groups=groups)
    assert found.problems == [], f"KILL_SEED={SEED}"


def register(daemons: Sequence[Member], batch: Sequence[Mapping[str, str]], chance: Random) -> None:
    """Register at any daemon; twice, since that changes nothing."""
    for _ in range(2):
        answer = chance.choice(daemons).ask("POST", "/v1/operations", {"operations": batch})
        assert {one["status"] for one in answer["results"]} <= {200, 201}, answer


def seal(daemon: Member, name: str, expected: int | None) -> None:
    """Seal a group now, or when it has so many members."""
    body = {} if expected is None else {"expected": expected}
    assert daemon.ask("POST", f"/v1/groups/{name}/seal", body)["name"] == name


def states(daemon: Member) -> dict[str, int]:
    """Count the groups in each state."""
    found: dict[str, int] = {}
    with suppress(OSError):
        for group in daemon.ask("GET", "/v1/groups")["groups"]:
            found[group["state"]] = found.get(group["state"], 0) + 1
    return found


def running(daemon: Member) -> int:
    """Count what is watched."""
    return int(daemon.ask("GET", "/v1/summary")["running"])


def waiting(daemon: Member) -> int:
    """Count the events that wait for the webhook."""
    return sum(sink["waiting"] for sink in daemon.ask("GET", "/v1/sinks")["sinks"])


def completed(receiver: Receiver) -> list[str]:
    """Return the groups whose end has arrived."""
    ended = [one.event for one in receiver.received if one.accepted]
    return [event["subject"] for event in ended if event["type"] == "group.completed"]
