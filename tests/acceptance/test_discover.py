"""Sweeps and discovery through the real command line, against the simulator in another process."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.simulated import Simulated, requests_for
from tests.fakes.process import Poller, eventually

pytestmark = pytest.mark.acceptance

FETCHES = "/Operations/{id}"
RATE, CONCURRENCY = 20, 2
FAST = {
    "POLLER_API__REQUESTS_PER_SECOND": str(RATE),
    "POLLER_API__MAX_CONCURRENCY": str(CONCURRENCY),
    "POLLER_POLLING__MIN_INTERVAL": "200ms",
    "POLLER_POLLING__MAX_INTERVAL": "1s",
    "POLLER_POLLING__PROGRESS_INTERVAL": "0s",
    "POLLER_LOG__LEVEL": "debug",
}


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulated]:
    """Give a simulator in which a send of ten takes some seconds."""
    with Simulated("--speed", "2", cwd=tmp_path) as simulated:
        yield simulated


def finals(daemon: Poller) -> list[str]:
    """Return the operations whose last event was printed, in order."""
    return [str(event["subject"]) for event in daemon.events if event["data"]["final"]]


def check_politeness(stats: dict[str, Any]) -> None:
    """Read the simulator's own counters: never more at once, never more a second than agreed."""
    assert stats["peak_concurrency"] <= CONCURRENCY
    assert stats["peak_rate"] <= RATE + 1


def test_discovery_alone_watches_a_whole_account(simulator: Simulated, tmp_path: Path) -> None:
    """Without a registration, what was sent before and after the start is followed to its end."""
    variables = {**simulator.environment, **FAST}
    before = [*simulator.send(8, recipients=10), *simulator.send(2, recipients=10, kind="emails")]
    with Poller("run", "--discover", cwd=tmp_path, environment=variables) as daemon:
        eventually(lambda: len(daemon.logged("operation.discovered")) == len(before))
        after = simulator.send(8, recipients=10)
        eventually(lambda: len(finals(daemon)) >= len(before) + len(after))
        assert daemon.stop() == 0
    assert sorted(finals(daemon)) == sorted([*before, *after])
    kinds = {event["subject"]: event["data"]["kind"] for event in daemon.events}
    assert [name for name, kind in kinds.items() if kind == "emails"] == sorted(
        before[8:], key=list(kinds).index
    )
    check_politeness(simulator.stats())
    with Poller("run", "--discover", cwd=tmp_path, environment=variables) as again:
        eventually(lambda: len(again.logged("sweep.done")) >= 4)
        assert again.stop() == 0
    assert again.events == []
    assert again.logged("operation.discovered") == []


def test_without_discovery_strangers_are_left_alone(simulator: Simulated, tmp_path: Path) -> None:
    """Without `--discover` an account's other operations are nobody's business."""
    own = simulator.send(5, recipients=10)
    simulator.send(5, recipients=10)
    variables = {**simulator.environment, **FAST}
    with Poller("run", *own, cwd=tmp_path, environment=variables) as daemon:
        eventually(lambda: len(finals(daemon)) == len(own))
        assert daemon.stop() == 0
    assert {event["subject"] for event in daemon.events} == set(own)
    assert requests_for(simulator.stats(), "Emails") == 0


@pytest.mark.slow
def test_many_cost_a_few_lists(simulator: Simulated, tmp_path: Path) -> None:
    """Two hundred operations are followed to their ends with fewer requests than operations."""
    names = simulator.send(200, recipients=100)
    variables = {**simulator.environment, **FAST}
    with Poller("run", "--until-idle", *names, cwd=tmp_path, environment=variables) as daemon:
        assert daemon.wait() == 0
    stats = simulator.stats()
    assert sorted(finals(daemon)) == sorted(names)
    assert requests_for(stats, FETCHES) < 50
    assert stats["total"] < len(names)
    check_politeness(stats)


def test_off_means_off(simulator: Simulated, tmp_path: Path) -> None:
    """With `sweep = "off"` no list is ever read."""
    names = simulator.send(6, recipients=10)
    variables = {**simulator.environment, **FAST, "POLLER_POLLING__SWEEP": "off"}
    with Poller("run", "--until-idle", *names, cwd=tmp_path, environment=variables) as daemon:
        assert daemon.wait() == 0
    stats = simulator.stats()
    assert requests_for(stats, FETCHES) == stats["total"] >= len(names)
    check_politeness(stats)


@pytest.mark.slow
def test_a_storm_of_429_is_met_with_silence(simulator: Simulated, tmp_path: Path) -> None:
    """While half of all requests are refused: pauses, lists that go on, no bound exceeded."""
    simulator.turn(rate_429=0.5, retry_after=1.0)
    names = simulator.send(100, recipients=300)
    variables = {**simulator.environment, **FAST}
    with Poller("run", *names, cwd=tmp_path, environment=variables) as daemon:
        eventually(lambda: len(daemon.logged("account.paused")) >= 2)
        simulator.turn(rate_429=0.0)
        eventually(lambda: len(finals(daemon)) == len(names))
        assert daemon.stop() == 0
    assert sorted(finals(daemon)) == sorted(names)
    check_politeness(simulator.stats())
