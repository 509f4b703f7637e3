"""What a program can rely on, with a poller inside it and with one beside it."""

from collections import Counter
from contextlib import aclosing

import anyio
import pytest

import poller
from poller.library.base import WatchingApi
from tests.library.conftest import UNKNOWN, Stage

pytestmark = pytest.mark.anyio


async def test_an_operation_is_watched_to_its_end(api: WatchingApi, stage: Stage) -> None:
    """The final event comes once it is there, and again at once, with everything that it says."""
    sent = stage.send()
    assert await api.watch(sent.id, labels={"campaign": "autumn"})
    final = await api.wait(sent.id, timeout=20)
    assert isinstance(final, poller.EmittedEvent)
    assert final.type is poller.EventType.OPERATION_COMPLETED
    assert (final.subject, final.final) == (sent.id, True)
    assert final.labels == {"campaign": "autumn"}
    assert final.counters["total"] == 5
    assert await api.wait(sent.id, timeout=20) == final
    assert not await api.watch(sent.id)


async def test_events_add_up_and_are_resumed(api: WatchingApi, stage: Stage) -> None:
    """From the oldest, and behind each one: nothing is missing and nothing comes twice."""
    first, second = stage.send(), stage.send()
    await api.watch(first.id)
    await api.watch(second.id)
    await api.wait(first.id, timeout=20)
    await api.wait(second.id, timeout=20)
    found = []
    async with aclosing(api.events(id=first.id, from_oldest=True)) as events:
        async for event in events:
            found.append(event)
            if event.final:
                break
    assert {event.subject for event in found} == {first.id}
    assert [event.sequence for event in found] == list(range(1, len(found) + 1))
    summed = Counter[str]()
    for event in found:
        summed.update(event.delta)
    assert +summed == {name: count for name, count in found[-1].counters.items() if count}
    async with aclosing(api.events(id=first.id, after=found[0].id)) as rest:
        assert [await anext(rest) for _ in found[1:]] == found[1:]
    with pytest.raises(poller.EventsGone):
        await anext(api.events(after="01a201bb-1845-7d77-81cd-7d0d990faaff"))


async def test_events_begin_now(api: WatchingApi, stage: Stage) -> None:
    """What was recorded before does not come."""
    before, after = stage.send(), stage.send()
    await api.watch(before.id)
    await api.wait(before.id, timeout=20)
    found: list[str] = []

    async def follow() -> None:
        async with aclosing(api.events()) as events:
            async for event in events:
                found.append(event.subject)
                if event.final:
                    return

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        await anyio.sleep(0.2)
        await api.watch(after.id)
    assert set(found) == {after.id}


async def test_a_group_has_one_end(api: WatchingApi, stage: Stage) -> None:
    """Sealed, and all of its members ended."""
    members = [stage.send(recipients) for recipients in (2, 3)]
    for member in members:
        await api.watch(member.id, group="autumn")
    with pytest.raises(TimeoutError):
        await api.wait_group("autumn", timeout=0.3)
    sealed = await api.seal("autumn", expected=2)
    assert sealed["operations"]["total"] == 2
    final = await api.wait_group("autumn", timeout=20)
    assert final.type is poller.EventType.GROUP_COMPLETED
    assert final.counters["total"] == 5
    assert (await api.group("autumn"))["state"] == "ended"
    with pytest.raises(poller.Conflict):
        await api.seal("autumn", expected=3)


async def test_what_is_unknown_or_forgotten_is_not_waited_for(
    api: WatchingApi, stage: Stage
) -> None:
    """It would take for ever."""
    for ask in (api.wait(UNKNOWN), api.operation(UNKNOWN), api.forget(UNKNOWN)):
        with pytest.raises(poller.NotWatched, match=UNKNOWN):
            await ask
    for ask_group in (api.wait_group("spring"), api.group("spring"), api.seal("spring")):
        with pytest.raises(poller.NotWatched, match="spring"):
            await ask_group
    slow = stage.send(10_000)
    await api.watch(slow.id)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_expect_not_watched, api, slow.id)
        await anyio.sleep(0.1)
        await api.forget(slow.id)


async def _expect_not_watched(api: WatchingApi, watched: str) -> None:
    with pytest.raises(poller.NotWatched):
        await api.wait(watched, timeout=20)


async def test_a_registration_that_is_wrong_names_what(api: WatchingApi, stage: Stage) -> None:
    """As the control API refuses it."""
    with pytest.raises(poller.BadRegistration, match=r"^labels: "):
        await api.watch(UNKNOWN, labels={"": "nameless"})
    with pytest.raises(poller.BadRegistration, match=r"^id: "):
        await api.watch("MM123")
    sent = stage.send()
    await api.watch(sent.id, group="autumn")
    with pytest.raises(poller.Conflict, match="autumn"):
        await api.watch(sent.id, group="winter")


async def test_what_cannot_be_an_id_or_a_name_is_refused(api: WatchingApi) -> None:
    """Before it is part of an address, or of the store; so is a number of members."""
    for text in ("", "../groups", "comms_operation_1?x", "a/b"):
        for ask in (api.operation(text), api.forget(text), api.wait(text)):
            with pytest.raises(ValueError, match="look like comms_operation_"):
                await ask
        for ask_group in (api.group(text), api.seal(text, expected=2), api.wait_group(text)):
            with pytest.raises(poller.BadRegistration, match=r"^group: "):
                await ask_group
    for number in (0, -1, True, 1.5, "3", 2**70):
        with pytest.raises(poller.BadRegistration, match=r"^expected: must be a whole number"):
            await api.seal("autumn", expected=number)  # type: ignore[arg-type]  # not all are
    with pytest.raises(poller.NotWatched):
        await api.group("autumn")


async def test_an_end_that_is_known_is_returned_whatever_the_timeout(
    api: WatchingApi, stage: Stage
) -> None:
    """So a program can ask without waiting."""
    sent = stage.send()
    await api.watch(sent.id)
    with pytest.raises(TimeoutError):
        await api.wait(sent.id, timeout=0)
    final = await api.wait(sent.id, timeout=20)
    assert await api.wait(sent.id, timeout=0) == final


async def test_a_wait_may_end_early_and_begin_again(api: WatchingApi, stage: Stage) -> None:
    """A timeout or a cancellation leaves nothing behind."""
    slow = stage.send(300)
    await api.watch(slow.id)
    with pytest.raises(TimeoutError, match=f"{slow.id} has not ended within 0.05 s"):
        await api.wait(slow.id, timeout=0.05)
    with anyio.move_on_after(0.05):
        await api.wait(slow.id)
    assert not api._waiters._waiting
    assert (await api.wait(slow.id, timeout=20)).final


async def test_many_wait_with_one_reader(api: WatchingApi, stage: Stage) -> None:
    """Eight tasks, each with an operation of its own, and one stream of events."""
    sent = [stage.send().id for _ in range(8)]
    ends: dict[str, poller.EmittedEvent] = {}

    async def one(watched: str) -> None:
        await api.watch(watched)
        ends[watched] = await api.wait(watched, timeout=60)

    async with anyio.create_task_group() as tasks:
        for watched in sent:
            tasks.start_soon(one, watched)
    assert {watched: event.subject for watched, event in ends.items()} == {w: w for w in sent}
