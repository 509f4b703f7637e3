"""Registration: durable, idempotent, in order; what is known answers."""

import anyio
import pytest

from poller.store.registrations import Registered
from poller.store.schema import events, watches
from poller.tracking.answer import Verdict
from poller.tracking.registration import Conflict
from poller.tracking.watch import AccountScope, Outcome, Phase
from tests.store.conftest import SLOW_ON_POSTGRESQL, OpenDaemon
from tests.store.scenes import HOME, Clock, Daemon, op, registration, seen

pytestmark = pytest.mark.anyio


async def test_a_registration_survives_a_restart(
    daemon: Daemon, open_daemon: OpenDaemon, clock: Clock
) -> None:
    """What was acknowledged is there for the next process, labels, moment and all."""
    [registered] = await daemon.store.register([registration(op(1), "emails", campaign="autumn")])
    await daemon.store.aclose()
    clock.advance(60)
    again = await open_daemon("next")
    [known] = await again.store.register([registration(op(1), "emails")])
    assert not known.is_new
    assert known.watch == registered.watch
    assert await again.claim() == [op(1)]


@SLOW_ON_POSTGRESQL
async def test_a_repeated_registration_is_one_watch(daemon: Daemon) -> None:
    """The second answers the first one's watch, and merges its labels."""
    [first] = await daemon.store.register([registration(op(1), a="1", b="1")])
    [second] = await daemon.store.register([registration(op(1), b="2", c="2")])
    assert (first.is_new, second.is_new) == (True, False)
    assert second.watch is not None
    assert second.watch.labels == {"a": "1", "b": "2", "c": "2"}
    assert await daemon.count(watches) == 1


@SLOW_ON_POSTGRESQL
async def test_an_id_twice_in_one_request_is_one_watch(daemon: Daemon) -> None:
    """The second of the two finds the first."""
    results = await daemon.store.register([registration(op(1), a="1"), registration(op(1), b="2")])
    assert [result.is_new for result in results] == [True, False]
    assert (await daemon.watch(op(1))).labels == {"a": "1", "b": "2"}


@SLOW_ON_POSTGRESQL
async def test_results_come_in_the_order_of_the_registrations(daemon: Daemon) -> None:
    """Known, new and refused ones alike, each in its place."""
    await daemon.register(op(5))
    await daemon.observe(op(5), "PROCESSING")
    registrations = [
        registration(op(9)),
        registration(op(5), "emails"),
        registration(op(5)),
        registration(op(1)),
        registration(op(9)),
    ]
    results = await daemon.store.register(registrations)
    assert [result.id for result in results] == [op(9), op(5), op(5), op(1), op(9)]
    assert [result.is_new for result in results] == [True, False, False, True, False]
    assert [result.conflict is not None for result in results] == [False, True, *[False] * 3]


@pytest.mark.slow
async def test_ten_thousand_are_registered_in_one_transaction(
    daemon: Daemon, another: Daemon
) -> None:
    """An observer sees none or all of them; as many as one request may bring."""
    counted: list[int] = []

    async def watch_the_number() -> None:
        while not counted or counted[-1] < 10_000:
            counted.append(await another.count(watches))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch_the_number)
            results = await daemon.register(*(op(number) for number in range(10_000)))
    assert set(counted) <= {0, 10_000}
    assert [result.id for result in results] == [op(number) for number in range(10_000)]
    assert all(result.is_new for result in results)


@SLOW_ON_POSTGRESQL
async def test_another_kind_is_refused_once_the_operation_was_seen(daemon: Daemon) -> None:
    """The message names both kinds; nothing changes."""
    await daemon.register(op(1))
    await daemon.observe(op(1), "PROCESSING")
    [refused] = await daemon.store.register([registration(op(1), "emails", a="1")])
    assert refused.watch is None
    assert "messages" in str(refused.conflict)
    assert "emails" in str(refused.conflict)
    assert (await daemon.watch(op(1))).labels == {}


async def test_another_kind_is_taken_over_before(daemon: Daemon) -> None:
    """Nothing was seen yet: the correction counts."""
    await daemon.register(op(1))
    [corrected] = await daemon.store.register([registration(op(1), "emails")])
    assert corrected.watch is not None
    assert (corrected.watch.kind, corrected.is_new) == ("emails", False)
    assert await daemon.claim(kinds=["messages"]) == []


async def test_an_answer_for_the_kind_before_says_nothing(daemon: Daemon) -> None:
    """It was on its way when the kind was corrected; the right one is due at once."""
    await daemon.register(op(1))
    assert len(await daemon.claim(kinds=["messages"])) == 1
    await daemon.store.register([registration(op(1), "emails")])
    [late] = await daemon.record((op(1), seen(op(1), "COMPLETED")), kind="messages")
    assert (late.verdict, list(late.events)) == (Verdict.LATE, [])
    assert len(await daemon.claim(kinds=["emails"])) == 1
    [observed] = await daemon.record((op(1), seen(op(1))), kind="emails")
    assert observed.verdict is Verdict.CHANGED


@pytest.mark.parametrize(
    "scope",
    [
        AccountScope(account="AC2", base_url=HOME.base_url),
        AccountScope(account=HOME.account, base_url="https://eu.example.com/v1"),
    ],
    ids=["account", "base_url"],
)
async def test_an_operation_of_another_home_is_refused_and_left_alone(
    daemon: Daemon, open_daemon: OpenDaemon, scope: AccountScope
) -> None:
    """Its id, its claim, its answers and its number are its own daemon's."""
    await daemon.register(op(1))
    stranger = await open_daemon("stranger", scope, as_daemon=daemon.on_postgresql)
    refused, accepted = await stranger.register(op(1), op(2))
    assert HOME.account in str(refused.conflict)
    assert scope.base_url in str(refused.conflict)
    assert accepted.is_new
    assert await stranger.claim() == [op(2)]
    [dropped] = await stranger.record((op(1), seen(op(1))))
    assert dropped.watch is None
    assert (await stranger.store.forget(op(1))).watch is None
    assert await stranger.store.foreign_operations() == 1
    assert await daemon.claim() == [op(1)]


@SLOW_ON_POSTGRESQL
async def test_all_or_none_registers_none_beside_a_conflict(daemon: Daemon) -> None:
    """Ids on the command line are all good or nothing happens."""
    await daemon.register(op(1))
    await daemon.observe(op(1), "PROCESSING")
    with pytest.raises(Conflict, match="emails"):
        await daemon.store.register(
            [registration(op(2)), registration(op(1), "emails")], all_or_none=True
        )
    assert await daemon.count(watches) == 1


async def test_daemons_that_register_the_same_at_once_all_succeed(
    daemon: Daemon, another: Daemon
) -> None:
    """Each id is new for exactly one of them, whatever order each names them in."""
    # more than one statement takes
    ids = [op(number) for number in range(510)]
    results: list[Registered] = []

    async def register(who: Daemon, order: list[str]) -> None:
        results.extend(await who.register(*order))

    for round_ in range(2):
        mine = [f"{one}{round_}" for one in ids]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(register, daemon, mine)
            tasks.start_soon(register, another, mine[::-1])
    assert sum(result.is_new for result in results) == 2 * len(ids)
    assert len(results) == 2 * 2 * len(ids)


async def test_a_forgotten_operation_goes_on_where_it_was(daemon: Daemon) -> None:
    """Registered again it is new, and sequence and deltas continue."""
    await daemon.register(op(1))
    await daemon.observe(op(1), "PROCESSING", total=5, queued=5)
    await daemon.store.forget(op(1))
    [resumed] = await daemon.register(op(1))
    assert resumed.is_new
    observation = await daemon.observe(op(1), "PROCESSING", total=5, queued=3, delivered=2)
    [recorded] = observation.events
    assert recorded.event.sequence == 2
    assert recorded.event.data["delta"] == {"queued": -2, "delivered": 2}


@SLOW_ON_POSTGRESQL
async def test_an_ended_operation_answers_its_end(daemon: Daemon) -> None:
    """No new watch, no event."""
    await daemon.run_through(op(1))
    [known] = await daemon.register(op(1))
    assert not known.is_new
    assert known.watch is not None
    assert (known.watch.phase, known.watch.outcome) == (Phase.ENDED, Outcome.COMPLETED)
    assert await daemon.claim() == []
    assert await daemon.count(events) == 3
