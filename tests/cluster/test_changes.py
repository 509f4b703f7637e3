"""What one daemon is answered, or has set, the other one knows within about a second."""

from collections.abc import AsyncIterator, Mapping
from typing import Final

import pytest

import poller
from poller.comms.gate import Pause
from tests.cluster.embedded import embedded, meet, paused, reload, until
from tests.fakes.api import FakeApi, Reply, operation, operation_id
from tests.fakes.receiver import Receiver

# each waits for seconds: the daemons look for what is new by the real clock
pytestmark = [pytest.mark.anyio, pytest.mark.slow]

Pair = tuple[poller.Poller, poller.Poller]
IDS: Final = [operation_id(number) for number in range(8)]
# and what a busy machine adds
ABOUT_A_SECOND: Final = 2.5


@pytest.fixture
async def daemons(url: str, api: FakeApi) -> AsyncIterator[Pair]:
    """Run two that share a store and know of each other."""
    async with embedded(url, api) as first, embedded(url, api) as second:
        await meet(first, second)
        yield first, second


def pause_of(daemon: poller.Poller) -> Pause | None:
    """Return the pause of the account as a daemon knows it."""
    return daemon._daemon._throttle.account_pause


@pytest.mark.parametrize("status", [429, 503])
async def test_a_refusal_that_names_no_time_pauses_both(
    daemons: Pair, api: FakeApi, status: int
) -> None:
    """For a second; then one of them probes, and a second refusal doubles the pause of both."""
    for one in IDS:
        api.script(one, [operation(one, "PROCESSING", total=9, queued=9)])
        await daemons[0].watch(one)
    await until(lambda: all(map(api.count, IDS)))
    api.override = Reply(status=status)
    await until(lambda: all(map(paused, daemons)), ABOUT_A_SECOND)
    # those that were under way have been answered
    await until(lambda: not any(one._daemon._throttle.in_flight for one in daemons))
    asked = len(api.times)
    await until(lambda: all((pause := pause_of(one)) and pause.level == 2 for one in daemons))
    [first, second] = map(pause_of, daemons)
    assert first == second
    assert first is not None
    assert 2 <= first.wait.total_seconds() < 3
    assert len(api.times) == asked + 1
    api.override = None
    await until(lambda: not any(map(paused, daemons)))
    # the answer to the second probe, and only then the others
    assert 1.9 < api.times[asked + 1] - api.times[asked] < 2 + ABOUT_A_SECOND


async def test_a_rate_that_a_reload_sets_is_known_to_the_other(
    daemons: Pair, url: str, api: FakeApi
) -> None:
    """The lowest holds for both, and both report the difference until it is gone."""
    first, second = daemons
    limits = {"requests_per_second": 3, "max_concurrency": 16}
    await reload(second, url, api, {"api": limits})
    await until(lambda: "3 at" in differences(first).get("api.requests_per_second", ""))
    assert "100 at" in differences(second)["api.requests_per_second"]
    for one in IDS:
        api.script(one, [operation(one, "PROCESSING", total=9, queued=9)])
        await first.watch(one)
    await until(lambda: len(api.times) >= 8)
    assert api.times[7] - api.times[0] > 6 / 3
    await reload(second, url, api, {})
    await until(lambda: not differences(first), ABOUT_A_SECOND)


def differences(daemon: poller.Poller) -> Mapping[str, str]:
    """Return the settings that a daemon reports as set differently elsewhere, with the hints."""
    return {trouble.what: trouble.hint for trouble in daemon._daemon.membership.troubles()}


async def test_a_sink_that_a_reload_brings_gets_what_the_other_records(
    daemons: Pair, url: str, api: FakeApi
) -> None:
    """From then on; and once another reload has dropped it, it gets nothing more."""
    first, second = daemons
    with Receiver() as receiver:
        sinks = {"app": {"type": "webhook", "url": receiver.url}}
        await reload(second, url, api, {"sinks": sinks})
        await until(lambda: sinks_of_others(first) == {"app"}, ABOUT_A_SECOND)
        for one in IDS[:2]:
            api.script(one, [operation(one, "COMPLETED", total=9, delivered=9)])
        await first.watch(IDS[0])
        await until(lambda: [event["subject"] for event in receiver.events] == [IDS[0]])
        await reload(second, url, api, {})
        await until(lambda: sinks_of_others(first) == set(), ABOUT_A_SECOND)
        await first.watch(IDS[1])
        await first.wait(IDS[1], timeout=15)
        summary = await first._store.summary(since=first._store.now())
        assert (summary.waiting, summary.stuck) == (0, 0)
        assert len(receiver.events) == 1


def sinks_of_others(daemon: poller.Poller) -> set[str]:
    """Name the sinks that a daemon knows the living others to have."""
    others = daemon._daemon.membership.others
    return {sink.name for other in others for sink in other.sinks}
