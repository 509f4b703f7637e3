"""What daemons that share a store keep together: sinks, the pause, the rate, the lists, events."""

import http.client
import json
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.fleet import Fleet, Member
from tests.fakes.api import FakeApi, Reply, operation, operation_id
from tests.fakes.event_files import read_events
from tests.fakes.process import eventually

RATE = 5
SINK = '{{"{name}": {{"type": "file", "path": "{path}"}}}}'


def running(api: FakeApi, number: int) -> list[str]:
    """Make operations that never end; returns their ids."""
    ids = [operation_id(one) for one in range(number)]
    for one in ids:
        api.script(one, [operation(one, "PROCESSING", total=9, queued=9)])
    return ids


def rate_over(api: FakeApi, seconds: float) -> float:
    """Count the requests of the next `seconds`; returns how many a second."""
    begun, before = time.monotonic(), len(api.times)
    time.sleep(seconds)
    return (len(api.times) - before) / (time.monotonic() - begun)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """How many requests asked for a list, and how many for one operation."""

    lists: int
    fetches: int


def requests_in(api: FakeApi, seconds: float) -> Requests:
    """Count the requests of the next `seconds`."""
    before = len(api.requests)
    time.sleep(seconds)
    asked = api.requests[before:]
    lists = sum("Operations?" in path for path in asked)
    return Requests(lists=lists, fetches=len(asked) - lists)


def sink_at(path: Path, name: str) -> dict[str, str]:
    """Return the settings of a daemon with this file sink alone."""
    return {"sinks": SINK.format(name=name, path=path)}


def test_a_sink_of_one_daemon_gets_what_another_records(
    fleet: Fleet, api: FakeApi, tmp_path: Path
) -> None:
    """B's start does not make A's sink absent, and while A restarts nothing is lost for it."""
    app, other = tmp_path / "app.ndjson", tmp_path / "other.ndjson"
    [first] = fleet.start(**sink_at(app, "app"))
    [second] = fleet.start(**sink_at(other, "other"))
    sinks = {sink["name"]: sink for sink in second.ask("GET", "/v1/sinks")["sinks"]}
    assert {name: sink["configured"] for name, sink in sinks.items()} == {
        "app": True,
        "other": True,
    }
    assert first.process.stop() == 0
    ids = [operation_id(number) for number in range(10)]
    for one in ids:
        api.script(one, [operation(one, "COMPLETED", total=1, delivered=1)])
    second.register(ids)
    eventually(lambda: set(subjects(other)) == set(ids))
    fleet.start(**sink_at(app, "app"))
    eventually(lambda: set(subjects(app)) == set(ids))
    assert sorted(subjects(app)) == sorted(subjects(other)) == sorted(ids)


def test_a_pause_is_kept_by_all(fleet: Fleet, api: FakeApi) -> None:
    """One 429 to one daemon stops every one, and one of them tests whether it is over."""
    daemons = fleet.start(3, polling__sweep="off")
    daemons[0].register(running(api, 60))
    eventually(lambda: len(api.times) > RATE)
    api.override = Reply(status=429, headers={"Retry-After": "4"})
    refused = len(api.times)
    eventually(lambda: len(api.times) > refused)
    time.sleep(1)  # what was under way, and those who learn of it within a second
    settled = len(api.times)
    time.sleep(1.5)
    assert len(api.times) == settled
    eventually(lambda: len(api.times) > settled)
    # the probe, refused again: a second pause of at least four seconds
    time.sleep(1)
    assert len(api.times) - settled == 1


def test_differing_settings_are_reported_by_both(fleet: Fleet, tmp_path: Path) -> None:
    """The rate, and a sink of the same name that goes elsewhere."""
    [first] = fleet.start(**sink_at(tmp_path / "one", "app"), api__requests_per_second="5")
    [second] = fleet.start(**sink_at(tmp_path / "two", "app"), api__requests_per_second="3")
    wanted = {"api.requests_per_second", "settings of sink app"}
    for daemon in (first, second):
        eventually(lambda each=daemon: wanted <= each.degraded().keys())  # type: ignore[misc]
    assert "5 here, 3 at" in first.degraded()["api.requests_per_second"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 3, 5])
def test_all_daemons_together_keep_the_rate(fleet: Fleet, api: FakeApi, number: int) -> None:
    """However many serve the account."""
    daemons = fleet.start(number, polling__sweep="off")
    daemons[0].register(running(api, 100))
    eventually(lambda: len(api.times) > RATE)
    assert rate_over(api, 20) <= RATE * 1.1


@pytest.mark.slow
def test_all_daemons_together_keep_the_concurrency(fleet: Fleet, api: FakeApi) -> None:
    """They have as many requests under way as one may have, and no fewer."""
    ids = running(api, 60)
    for one in ids:
        answer = operation(one, "PROCESSING", total=9, queued=9)
        api.script(one, [Reply(body=answer, delay=1.5)])
    daemons = fleet.start(
        3, polling__sweep="off", api__requests_per_second="20", api__max_concurrency="4"
    )
    daemons[0].register(ids)
    eventually(lambda: len(api.times) > 12)
    assert api.peak == 4


@pytest.mark.slow
def test_the_rate_is_kept_while_daemons_come_and_go(fleet: Fleet, api: FakeApi) -> None:
    """A daemon that is killed wastes its portion; one that starts brings no rate of its own."""
    daemons = fleet.start(3, polling__sweep="off")
    daemons[0].register(running(api, 100))
    eventually(lambda: len(api.times) > RATE)
    chance = random.Random(1)  # noqa: S311 - which one is killed
    begun, before = time.monotonic(), len(api.times)
    for _ in range(4):
        time.sleep(3)
        daemons.pop(chance.randrange(len(daemons))).process.kill()
        daemons += fleet.start(polling__sweep="off")
    assert (len(api.times) - before) / (time.monotonic() - begun) <= RATE * 1.1
    # and within seconds those that live use it up again
    eventually(lambda: rate_over(api, 3) > RATE * 0.8, timeout=10)


@pytest.mark.slow
def test_one_daemon_reads_the_list_for_all(fleet: Fleet, api: FakeApi) -> None:
    """A thousand operations, due every two seconds, cost four daemons hardly more than one."""
    slow = {"polling__min_interval": "2s", "polling__max_interval": "2s"}
    [first] = fleet.start(**slow)
    first.register(running(api, 1000))
    eventually(lambda: len(api.times) > 2)
    alone = requests_in(api, 30)
    # a page each time that they are due, and now and then one operation is fetched
    assert 10 <= alone.lists <= 15
    assert alone.fetches <= 3
    fleet.start(3, **slow)
    together = requests_in(api, 30)
    assert together.lists + together.fetches <= 1.2 * (alone.lists + alone.fetches)


@pytest.mark.slow
def test_events_of_others_come_in_a_quarter_of_a_second(fleet: Fleet, api: FakeApi) -> None:
    """On the stream of a daemon that has nothing to do with them."""
    first, second = fleet.start(2, polling__sweep="off", api__requests_per_second="20")
    arrivals: dict[str, float] = {}
    for name, daemon in (("first", first), ("second", second)):
        threading.Thread(target=listen, args=(daemon, arrivals, name), daemon=True).start()
    ids = [operation_id(number) for number in range(100)]
    for one in ids:
        api.script(one, [operation(one, "COMPLETED", total=1, delivered=1)])
    time.sleep(1)
    for start in range(0, 100, 5):
        first.register(ids[start : start + 5])
        time.sleep(0.3)
    eventually(lambda: len(arrivals) == 200)
    late = sorted(abs(arrivals[f"first {one}"] - arrivals[f"second {one}"]) for one in ids)
    assert late[98] < 0.25


def listen(daemon: Member, arrivals: dict[str, float], name: str) -> None:
    """Note when each event comes on the stream of a daemon."""
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=60)
    connection.request("GET", "/v1/events", headers={"Accept": "text/event-stream"})
    answer = connection.getresponse()
    while line := answer.readline():
        if line.startswith(b"data:"):
            event = json.loads(line.removeprefix(b"data:"))
            arrivals.setdefault(f"{name} {event['subject']}", time.monotonic())


def subjects(path: Path) -> Sequence[str]:
    """Return the operations of the events in a file, in order."""
    return [event["subject"] for event in read_events(path)]
