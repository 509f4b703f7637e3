"""The throttle: concurrency, rate and pauses, seen by those who wait for it."""

import random
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from anyio.lowlevel import checkpoint

from poller.comms.errors import (
    CommsError,
    DeadlineExceeded,
    Forbidden,
    NetworkError,
    NotFound,
    ServerError,
    Throttled,
    Unauthorized,
    Unavailable,
)
from poller.comms.gate import Pause, Reason
from poller.comms.throttle import Throttle, Ticket
from tests.comms.scripted import NOW, Clock

pytestmark = pytest.mark.anyio

MOMENT = 0.03
SOON = 0.5  # well under the second after which a waiter looks again by itself


def make(
    clock: Clock, *, concurrency: int = 4, rate: float = 10_000, paused: Pause | None = None
) -> Throttle:
    """Return a throttle whose rate is no matter unless it is given."""
    return Throttle(
        max_concurrency=concurrency,
        requests_per_second=rate,
        probe_interval=60,
        now=clock,
        paused=paused,
    )


async def start(throttle: Throttle, kind: str = "messages") -> Ticket:
    """Begin a request that must be let through now."""
    with anyio.fail_after(SOON):
        await throttle.admit()
    ticket = throttle.begin(kind)
    assert ticket is not None
    return ticket


async def is_blocked(throttle: Throttle) -> bool:
    """Whether nothing is let through for a moment."""
    with anyio.move_on_after(MOMENT):
        await throttle.admit()
        throttle.cancel()
        return False
    return True


def failure(cls: type[CommsError], retry_after: float | None = None) -> CommsError:
    """Return an error of that class."""
    return cls("fetch x", "the API answered", retry_after=retry_after)


async def test_no_more_requests_at_once_than_allowed(clock: Clock) -> None:
    """However many want to; all get their turn."""
    throttle = make(clock, concurrency=3)
    peak = done = 0

    async def work() -> None:
        nonlocal peak, done
        ticket = await start(throttle)
        peak = max(peak, throttle.in_flight)
        for _ in range(20):  # a request takes some turns of the loop
            await checkpoint()
        throttle.finish(ticket, None)
        done += 1

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(work)
    assert (peak, done, throttle.in_flight) == (3, 50, 0)


async def test_the_rate_holds_between_any_two_requests(clock: Clock) -> None:
    """No span of time holds more requests than the rate allows, and one."""
    throttle, rate, begun = make(clock, rate=100), 100, list[float]()
    for _ in range(20):
        await throttle.admit()
        begun.append(anyio.current_time())
        ticket = throttle.begin("messages")
        assert ticket is not None
        throttle.finish(ticket, None)
    for i, earlier in enumerate(begun):
        for j, later in enumerate(begun[i + 1 :], start=1):
            assert later - earlier >= (j - 0.5) / rate - 0.001


async def test_a_cancelled_reservation_costs_nothing(clock: Clock) -> None:
    """Neither a slot nor the rate."""
    throttle = make(clock, concurrency=1, rate=0.001)
    for _ in range(10):
        with anyio.fail_after(SOON):
            await throttle.admit()
        throttle.cancel()
    await start(throttle)


async def test_one_reservation_at_a_time(clock: Clock) -> None:
    """Two claimers take turns, so that no probe is given out twice."""
    throttle = make(clock)
    await throttle.admit()
    assert await is_blocked(throttle)
    throttle.cancel()
    assert not await is_blocked(throttle)


async def test_nothing_begins_without_a_reservation(clock: Clock) -> None:
    """A mistake in the engine shows at once."""
    throttle = make(clock)
    with pytest.raises(RuntimeError, match="admit"):
        throttle.begin("messages")
    with pytest.raises(RuntimeError, match="admit"):
        throttle.cancel()


async def test_a_free_slot_wakes_a_waiter_at_once(clock: Clock) -> None:
    """Nobody waits for the next look."""
    throttle = make(clock, concurrency=1)
    ticket = await start(throttle)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(start, throttle)
        await anyio.wait_all_tasks_blocked()
        throttle.finish(ticket, None)


async def test_a_429_silences_the_account(clock: Clock) -> None:
    """All kinds wait; then one probes, the others wait for it, and its answer ends the pause."""
    throttle = make(clock)
    first, straggler = await start(throttle), await start(throttle, "emails")
    change = throttle.finish(first, failure(Throttled, retry_after=30))
    assert change.changed
    assert change.pause == throttle.account_pause
    assert change.pause is not None
    assert change.pause.until == NOW + timedelta(seconds=30)
    assert not throttle.finish(straggler, None).changed
    assert await is_blocked(throttle)
    clock.advance(30)
    probe = await start(throttle, "emails")
    assert probe.probe is Reason.THROTTLED
    assert await is_blocked(throttle)
    resumed = throttle.finish(probe, None)
    assert (resumed.changed, resumed.pause, throttle.account_pause) == (True, None, None)
    assert (await start(throttle)).probe is None


async def test_the_probe_waits_for_stragglers(clock: Clock) -> None:
    """What was begun before the pause is still a request of the account."""
    throttle = make(clock)
    first, straggler = await start(throttle), await start(throttle)
    throttle.finish(first, failure(Unavailable))
    clock.advance(2)
    assert await is_blocked(throttle)
    throttle.abandon(straggler)
    assert (await start(throttle)).probe is Reason.THROTTLED


async def test_a_pause_set_between_admission_and_beginning_counts(clock: Clock) -> None:
    """The request is not sent, and the reservation is back."""
    throttle = make(clock)
    ticket = await start(throttle)
    await throttle.admit()
    throttle.finish(ticket, failure(Throttled, retry_after=5))
    assert throttle.begin("messages") is None
    clock.advance(5)
    await start(throttle)


@pytest.mark.parametrize("cls", [NotFound, ServerError, Forbidden])
async def test_any_other_answer_of_the_probe_resumes(clock: Clock, cls: type[CommsError]) -> None:
    """The account is served again, whatever the answer is."""
    throttle = make(clock)
    throttle.finish(await start(throttle), failure(Throttled))
    clock.advance(1)
    throttle.finish(await start(throttle), failure(cls))
    assert throttle.account_pause is None


@pytest.mark.parametrize("cls", [NetworkError, DeadlineExceeded])
async def test_a_probe_without_an_answer_waits_again(clock: Clock, cls: type[CommsError]) -> None:
    """The change is reported, so that the stored pause is as long."""
    throttle = make(clock)
    throttle.finish(await start(throttle), failure(Throttled, retry_after=20))
    clock.advance(20)
    change = throttle.finish(await start(throttle), failure(cls))
    assert change.changed
    assert change.pause is not None
    assert change.pause.until == NOW + timedelta(seconds=40)


async def test_an_ordinary_network_failure_pauses_nobody(clock: Clock) -> None:
    """It is a matter of that operation."""
    throttle = make(clock)
    change = throttle.finish(await start(throttle), failure(NetworkError))
    assert (change.changed, change.kind_changed) == (False, False)


async def test_a_403_closes_its_kind_only(clock: Clock) -> None:
    """The other kinds go on; the kind is probed after the interval, and opened by an answer."""
    throttle, kinds = make(clock), ("messages", "emails")
    change = throttle.finish(await start(throttle, "emails"), failure(Forbidden))
    assert (change.changed, change.kind_changed) == (False, True)
    assert throttle.kind_pauses == {"emails": change.kind_pause}
    assert throttle.open_kinds(kinds) == {"messages"}
    await throttle.admit()
    assert throttle.begin("emails") is None
    assert (await start(throttle)).probe is None
    clock.advance(60)
    assert throttle.open_kinds(kinds) == {"messages", "emails"}
    probe = await start(throttle, "emails")
    assert probe.probe is Reason.FORBIDDEN
    assert throttle.open_kinds(kinds) == {"messages"}
    assert throttle.finish(probe, failure(NotFound)).kind_changed
    assert throttle.kind_pauses == {}


async def test_a_429_says_nothing_about_permission(clock: Clock) -> None:
    """A kind's probe that is throttled leaves the kind closed and due."""
    throttle = make(clock)
    throttle.finish(await start(throttle, "emails"), failure(Forbidden))
    clock.advance(60)
    change = throttle.finish(await start(throttle, "emails"), failure(Throttled))
    assert (change.changed, change.kind_changed) == (True, False)
    clock.advance(1)
    assert (await start(throttle, "emails")).probe is Reason.FORBIDDEN


async def test_a_401_is_probed_each_interval_or_on_request(clock: Clock) -> None:
    """The ticket says that the credentials must be read again."""
    throttle = make(clock)
    throttle.finish(await start(throttle), failure(Unauthorized))
    assert await is_blocked(throttle)
    clock.advance(60)
    probe = await start(throttle)
    assert probe.probe is Reason.UNAUTHORIZED
    throttle.finish(probe, failure(Unauthorized))
    assert await is_blocked(throttle)
    throttle.retry_now()
    assert (await start(throttle)).probe is Reason.UNAUTHORIZED


async def test_a_refusal_of_old_credentials_does_not_hold_up_new_ones(clock: Clock) -> None:
    """Requests that were under way when the credentials were renewed may still be refused."""
    throttle = make(clock)
    account, kind = await start(throttle), await start(throttle, "emails")
    throttle.retry_now()
    throttle.finish(kind, failure(Forbidden))
    throttle.finish(account, failure(Unauthorized))
    probe = await start(throttle, "emails")
    assert probe.probe is Reason.UNAUTHORIZED
    throttle.finish(probe, None)
    assert (throttle.account_pause, throttle.kind_pauses) == (None, {})


async def test_renewed_credentials_do_not_end_a_429(clock: Clock) -> None:
    """SIGHUP is no way around politeness."""
    throttle = make(clock)
    throttle.finish(await start(throttle), failure(Throttled, retry_after=30))
    throttle.retry_now()
    assert await is_blocked(throttle)


async def test_a_ticket_ends_once(clock: Clock) -> None:
    """A second word, or abandoning after the first, changes nothing."""
    throttle = make(clock)
    ticket = await start(throttle)
    throttle.finish(ticket, None)
    assert not throttle.finish(ticket, failure(Throttled)).changed
    throttle.abandon(ticket)
    assert (throttle.in_flight, throttle.account_pause) == (0, None)


async def test_an_abandoned_probe_is_due_again(clock: Clock) -> None:
    """A cancelled request is no answer, and no failure either."""
    throttle = make(clock)
    throttle.finish(await start(throttle), failure(Throttled))
    clock.advance(1)
    throttle.abandon(await start(throttle))
    assert (await start(throttle)).probe is Reason.THROTTLED


async def test_a_cancelled_wait_leaves_nothing_behind(clock: Clock) -> None:
    """Neither a turn nor a reservation."""
    throttle = make(clock, concurrency=1)
    ticket = await start(throttle)
    assert await is_blocked(throttle)
    throttle.finish(ticket, None)
    await start(throttle)


async def test_a_stored_pause_goes_on(clock: Clock) -> None:
    """A restart is no way around politeness either; a 401 is probed at once."""
    pause = Pause(
        reason=Reason.THROTTLED, since=NOW, set_at=NOW, until=NOW + timedelta(seconds=9), level=3
    )
    throttle = make(clock, paused=pause)
    assert await is_blocked(throttle)
    clock.advance(9)
    change = throttle.finish(await start(throttle), failure(Throttled))
    assert change.pause is not None
    assert (change.pause.level, change.pause.wait) == (4, timedelta(seconds=8))
    unauthorized = Pause(
        reason=Reason.UNAUTHORIZED,
        since=NOW,
        set_at=NOW,
        until=NOW + timedelta(seconds=60),
        level=1,
    )
    assert (await start(make(Clock(), paused=unauthorized))).probe is Reason.UNAUTHORIZED


@pytest.mark.parametrize("seconds", [-3600, 3600])
async def test_a_clock_that_jumps_is_noticed(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """A waiter looks again from time to time, whatever it reckoned with."""
    monkeypatch.setattr("poller.comms.throttle._CHECK_INTERVAL", 0.01)
    throttle = make(clock)
    throttle.finish(await start(throttle), failure(Throttled, retry_after=300))
    assert await is_blocked(throttle)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(start, throttle)
        await anyio.wait_all_tasks_blocked()
        clock.advance(seconds)


@pytest.mark.parametrize(
    ("bounds", "name"),
    [
        ({"max_concurrency": 0}, "max_concurrency"),
        ({"requests_per_second": 0}, "requests_per_second"),
        ({"probe_interval": 0}, "probe_interval"),
    ],
)
async def test_bounds_are_positive(clock: Clock, bounds: dict[str, int], name: str) -> None:
    """The message names the one that is not."""
    given = {"max_concurrency": 1, "requests_per_second": 1, "probe_interval": 1} | bounds
    with pytest.raises(ValueError, match=name):
        Throttle(
            max_concurrency=given["max_concurrency"],
            requests_per_second=given["requests_per_second"],
            probe_interval=given["probe_interval"],
            now=clock,
        )


@pytest.mark.parametrize("seed", range(5))
async def test_a_storm_of_refusals(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Whatever is answered, nothing is sent in a pause, one probe at a time, and all get done."""
    monkeypatch.setattr("poller.comms.throttle._CHECK_INTERVAL", 0.002)
    dice = random.Random(seed)  # noqa: S311 - a repeatable storm, no secret
    started = anyio.current_time()

    def now() -> datetime:  # a thousand times as fast
        return datetime.fromtimestamp(1000 * (anyio.current_time() - started), UTC)

    throttle = Throttle(max_concurrency=4, requests_per_second=10_000, probe_interval=20, now=now)
    outcomes = [None, None, NotFound, NetworkError, Throttled, Unavailable, Unauthorized, Forbidden]
    probes = 0

    async def request(ticket: Ticket) -> None:
        nonlocal probes
        await anyio.sleep(dice.random() / 1000)
        cls = dice.choice(outcomes)
        wait = dice.choice([None, 1.0, 5.0])
        throttle.finish(ticket, None if cls is None else failure(cls, retry_after=wait))
        probes -= ticket.probes_account

    sent = 0
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            while sent < 150:
                await throttle.admit()
                pause = throttle.account_pause
                ticket = throttle.begin(dice.choice(["messages", "emails"]))
                if ticket is None:
                    await anyio.sleep(0.001)
                    continue
                assert pause is None or not pause.holds(ticket.begun_at)
                assert ticket.probes_account is (pause is not None)
                probes += ticket.probes_account
                assert probes <= 1
                assert throttle.in_flight <= 4
                sent += 1
                tasks.start_soon(request, ticket)
    assert throttle.in_flight == 0


async def test_other_bounds_hold_at_once(clock: Clock) -> None:
    """A waiter is let through by a greater number; a slower or faster rate by the next request."""
    throttle = make(clock, concurrency=1)
    await start(throttle)
    assert await is_blocked(throttle)
    throttle.configure(max_concurrency=2, requests_per_second=0.1, probe_interval=60)
    assert await is_blocked(throttle)
    throttle.configure(max_concurrency=2, requests_per_second=10_000, probe_interval=60)
    await start(throttle)
    with pytest.raises(ValueError, match="max_concurrency"):
        throttle.configure(max_concurrency=0, requests_per_second=1, probe_interval=60)
    assert throttle.in_flight == 2
