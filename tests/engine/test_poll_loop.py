"""The poll loop between a real store and a scripted API: who is asked, when, and what is held."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta
from typing import Any, Protocol

import anyio
import pytest

from poller.comms.errors import CommsError, Unauthorized
from poller.engine.poll_loop import PollLoop
from tests.engine.polling import polling_of
from tests.engine.scripted import FickleStore, TickingClock, until
from tests.engine.scripted_api import ScriptedApi, envelope
from tests.store.scenes import op, registration

pytestmark = pytest.mark.anyio


class Polling(Protocol):
    """Runs a poll loop until the end of the block."""

    def __call__(
        self,
        api: ScriptedApi,
        *,
        concurrency: int = 4,
        rate: float = 100_000,
        has_others: Callable[[], bool] = lambda: False,
    ) -> AbstractAsyncContextManager[PollLoop]:
        """Run."""


class Refusals:
    """Counts the 401 and 403."""

    def __init__(self) -> None:
        self.errors: list[CommsError] = []


@pytest.fixture
def refusals() -> Refusals:
    """Return what is reported about refusals."""
    return Refusals()


@pytest.fixture
def polling(
    store: FickleStore,
    clock: TickingClock,
    refusals: Refusals,
    logs: object,  # noqa: ARG001 - kept from the terminal
) -> Polling:
    """Return what runs poll loops."""

    def run(
        api: ScriptedApi,
        *,
        concurrency: int = 4,
        rate: float = 100_000,
        has_others: Callable[[], bool] = lambda: False,
    ) -> AbstractAsyncContextManager[PollLoop]:
        return polling_of(
            api,
            store,
            clock,
            concurrency=concurrency,
            rate=rate,
            refused=refusals.errors.append,
            has_others=has_others,
        )

    return run


async def register(store: FickleStore, number: int, *, first: int = 0) -> list[str]:
    """Register operations; their ids."""
    names = [op(each) for each in range(first, first + number)]
    await store.register([registration(name) for name in names])
    return names


def listing(names: Sequence[str]) -> ScriptedApi:
    """Make an API whose list shows these operations, unchanged."""
    found = [ScriptedApi.processing(name)[1] for name in names]
    page = {"operations": found, "pagination": {"next": None}}
    return ScriptedApi(lambda _: (200, page))


async def test_a_lease_is_taken_only_for_what_starts_at_once(
    polling: Polling, store: FickleStore
) -> None:
    """Of thirty that are due three are asked about, and nobody else's hands are tied."""
    api = ScriptedApi(ScriptedApi.completed)
    api.gate = anyio.Event()
    names = await register(store, 30)
    async with polling(api, concurrency=3):
        await until(lambda: api.in_flight == 3)
        assert await store.leased() == set(api.asked)
        api.open_gate()
        await until(lambda: len(api.asked) == 30)
        await nobody_is_leased(store)
    assert api.peak == 3
    assert Counter(api.asked) == dict.fromkeys(names, 1)


async def test_requests_keep_the_rate(polling: Polling, store: FickleStore) -> None:
    """However many are due, they come one after the other; the throttle's own tests are exact."""
    rate = 20
    api = ScriptedApi(ScriptedApi.completed)
    await register(store, 12)
    async with polling(api, rate=rate):
        await until(lambda: len(api.asked) == 12)
    for first, start in enumerate(api.times):
        for last in range(first + 1, len(api.times)):
            # between the permit and the request a busy machine may lose a turn or two
            assert last - first <= (api.times[last] - start) * rate + 3


async def test_the_longest_overdue_is_asked_first(
    polling: Polling, store: FickleStore, clock: TickingClock
) -> None:
    """In the order of falling due, whatever their ids."""
    order = [4, 1, 3, 0, 2]
    for number in order:
        await register(store, 1, first=number)
        clock.advance(1)
    api = ScriptedApi(ScriptedApi.completed)
    async with polling(api, concurrency=1):
        await until(lambda: len(api.asked) == 5)
    assert api.asked == [op(number) for number in order]


async def test_a_registration_wakes_the_loop(
    polling: Polling, store: FickleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait for the next tick."""
    monkeypatch.setattr("poller.engine.poll_loop._QUERY_INTERVAL", 3600.0)
    api = ScriptedApi()
    async with polling(api) as loop:
        await register(store, 1)
        loop.wakeup.wake()
        await until(lambda: len(api.asked) == 1)
        await register(store, 1, first=1)
        loop.wakeup.wake()
        await until(lambda: len(api.asked) == 2)


async def test_what_comes_due_together_after_a_wait_is_listed(
    polling: Polling, store: FickleStore, clock: TickingClock
) -> None:
    """Also the first of it: a fetch before each list would double the requests of one page."""
    api = listing(await register(store, 20))
    async with polling(api) as loop:
        loop.configuration = replace(loop.configuration, sweep=True)
        for number in (1, 2, 3):
            await until(lambda wanted=number: len(api.asked) == wanted)  # type: ignore[misc]
            await nobody_is_leased(store)
            clock.advance(60)
            loop.wakeup.wake()
        await until(lambda: len(api.asked) == 4)
    assert set(api.asked) == {"Operations"}


async def test_what_comes_due_while_a_daemon_looks_is_left_to_the_sweeper(
    polling: Polling, store: FickleStore, clock: TickingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among several daemons one that looked a moment too early looks once more."""
    api = listing(await register(store, 20))
    store.is_shared = True
    count = store.due_by_kind

    async def count_too_early(**kwargs: Any) -> dict[str, int]:  # noqa: ANN401 - as the method
        counted = await count(**kwargs)
        if len(api.asked) == 1:
            clock.advance(60)
        return counted

    async with polling(api, has_others=lambda: True) as loop:
        loop.configuration = replace(loop.configuration, sweep=True)
        await until(lambda: len(api.asked) == 1)
        await nobody_is_leased(store)
        monkeypatch.setattr(store, "due_by_kind", count_too_early)
        loop.wakeup.wake()
        await until(lambda: len(api.asked) == 2)
    assert api.asked == ["Operations", "Operations"]


async def test_a_change_brings_the_next_look_in_its_time(
    polling: Polling, store: FickleStore, clock: TickingClock
) -> None:
    """Not before `min_interval`; then it is asked again."""
    api = ScriptedApi()
    [name] = await register(store, 1)
    async with polling(api) as loop:
        await until(lambda: len(api.asked) == 1)
        await nobody_is_leased(store)
        for _ in range(3):
            loop.wakeup.wake()
            await anyio.wait_all_tasks_blocked()
        assert api.asked == [name]
        clock.advance(2.5)
        loop.wakeup.wake()
        await until(lambda: len(api.asked) == 2)


async def test_a_401_holds_nothing_and_the_probe_asks_about_another(
    polling: Polling, store: FickleStore, refusals: Refusals, clock: TickingClock
) -> None:
    """One request, no lease left, nothing lost; the probe is of another operation, then all go."""
    api = ScriptedApi(lambda _: (401, envelope(20003)))
    names = await register(store, 4)
    async with polling(api, concurrency=1) as loop:
        await until(lambda: len(refusals.errors) == 1)
        await nobody_is_leased(store)
        assert api.asked == names[:1]
        assert isinstance(refusals.errors[0], Unauthorized)
        api.answers = ScriptedApi.completed
        clock.advance(61)
        loop._throttle.retry_now()
        await until(lambda: len(api.asked) == 5)
        assert api.asked[1] == names[1]
        assert sorted(api.asked[1:]) == names
        await nobody_is_leased(store)
    assert (await store.summary(since=clock.time - timedelta(hours=1))).watched == 0


async def test_a_store_that_refuses_for_a_while_stops_nothing_for_good(
    polling: Polling, store: FickleStore, clock: TickingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that could not be recorded is asked for again; it changes nothing twice."""
    monkeypatch.setattr("poller.engine.supervision._PAUSE", 0.01)
    api = ScriptedApi(ScriptedApi.completed)
    api.gate = anyio.Event()
    names = await register(store, 6)
    async with polling(api, concurrency=2):
        await until(lambda: api.in_flight == 2)
        store.refuses = True
        api.open_gate()
        await until(lambda: store.refused > 6)
        assert len(api.asked) == 2
        store.refuses = False
        await until(lambda: len(set(api.asked)) == 6)
        clock.advance(30)
        await until(lambda: len(api.asked) == 8)
        await nobody_is_leased(store)
    assert Counter(api.asked) == {**dict.fromkeys(names, 1), names[0]: 2, names[1]: 2}
    assert (await store.summary(since=clock.time - timedelta(hours=1))).watched == 0


async def test_stopping_records_what_is_under_way_and_begins_nothing(
    polling: Polling, store: FickleStore, clock: TickingClock
) -> None:
    """`run` returns when the answers that were under way are in the store."""
    api = ScriptedApi(ScriptedApi.completed)
    api.gate = anyio.Event()
    await register(store, 10)
    async with polling(api, concurrency=3) as loop:
        await until(lambda: api.in_flight == 3)
        loop.stop()
        api.open_gate()
        await nobody_is_leased(store)
        assert len(api.asked) == 3
        assert (await store.summary(since=clock.time - timedelta(hours=1))).watched == 7


@pytest.mark.defects("an API that raises")
async def test_a_defect_in_one_answer_ends_nothing(
    polling: Polling, store: FickleStore, clock: TickingClock, logs: list[Any]
) -> None:
    """An unexpected exception is logged; its operation backs off, the others continue."""
    odd, *_ = names = await register(store, 3)

    def answers(name: str) -> tuple[int, Any]:
        if name == odd:
            raise ZeroDivisionError
        return ScriptedApi.completed(name)

    api = ScriptedApi(answers)
    async with polling(api):
        await until(lambda: len(api.asked) >= 3)
        await nobody_is_leased(store)
        assert set(api.asked) == set(names)
        assert [line for line in logs if line["event"] in {"engine.defect", "poll.failed"}]
        api.answers = ScriptedApi.completed
        clock.advance(30)
        await until(lambda: api.asked.count(odd) == 2)


async def nobody_is_leased(store: FickleStore) -> None:
    """Wait until all that was claimed is recorded or given back."""
    with anyio.fail_after(10):
        while await store.leased():  # noqa: ASYNC110 - as in until
            await anyio.sleep(0.002)
