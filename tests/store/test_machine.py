"""Everything at once: store and tracking against a world that misbehaves, in any order.

Operations join groups, which are sealed at any moment. Operations move, answers come old and twice,
places refuse, fail after they took an event, and come and go; the process crashes between any two
steps; time passes and goes back. Whatever happens, the promises hold; and when the trouble is over,
nothing waits.
"""

import random
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select

from poller.store import deliveries as delivery_rows
from poller.store import groups as group_rows
from poller.store import hints as hint_rows
from poller.store import registrations as registration_rows
from poller.store import sinks as sink_rows
from poller.store import watches as watch_rows
from poller.store.claims import ClaimRequest
from poller.store.database import Database
from poller.store.dead_letters import Selection, replay, replay_event
from poller.store.events import StoredEvent
from poller.store.group_retention import prune_groups
from poller.store.reports import summary
from poller.store.retention import prune, remove_stubs
from poller.store.rows import group_of, watch_of
from poller.store.schema import deliveries, events, groups, watches
from poller.store.scopes import find_or_create_scope
from poller.store.watches import Lease
from poller.tracking.answer import (
    Answer,
    FailedAnswer,
    NonsenseAnswer,
    NotFoundAnswer,
    RejectedAnswer,
)
from poller.tracking.delivery import AttemptResult, DeliveryState, Subscription
from poller.tracking.pacing import Policy
from poller.tracking.progress import Recipients
from poller.tracking.registration import Conflict, Registration
from poller.tracking.watch import HintStrength
from tests.examples import times
from tests.store.scenes import HOME, NOW, Clock, declare, op
from tests.store.worlds import Ledger, PrunePlace, Truth

SETTINGS = settings(stateful_step_count=30)
OPERATIONS = 3
GROUPS = ("east", "west")
RETENTION = timedelta(days=1)
LEASE = Lease(owner="machine", seconds=30.0)
# on memory where there is such a place: a crash here is one of the process, not of the disk
FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a private directory in it

operations = st.integers(0, OPERATIONS - 1)
names = st.sampled_from(["lines", "hook", "ends"])
group_names = st.sampled_from(GROUPS)
counters = st.sampled_from(["queued", "sent", "delivered", "failed"])
seconds = st.sampled_from([0.5, 2.0, 11.0, 31.0, 400.0, 4_000.0, 90_000.0, 260_000.0])


class StoreMachine(RuleBasedStateMachine):
    """A daemon on a SQLite file, its operations and its three sinks."""

    empty: ClassVar[Path]
    database: ClassVar[Database]
    """One for all runs: what an engine has compiled is worth keeping."""

    def __init__(self) -> None:
        super().__init__()
        self._crash()
        assert self.database.path is not None
        shutil.copy(self.empty, self.database.path)
        self.clock = Clock()
        self.random = random.Random(0)  # noqa: S311 - jitter
        self.ledger = Ledger()
        self.places = {
            "lines": PrunePlace(subscription=Subscription(sink="lines"), in_order=True),
            "hook": PrunePlace(subscription=Subscription(sink="hook"), in_order=False),
            "ends": PrunePlace(
                subscription=Subscription(sink="ends", events=("final",)), in_order=False
            ),
        }
        self.configured = set(self.places)
        self.policy = Policy()
        self.truths: list[Truth] = []
        self._start()

    @initialize(
        dated=st.tuples(*[st.booleans()] * OPERATIONS),
        progress_interval=st.sampled_from([0.0, 10.0]),
        settle=st.sampled_from([0.0, 3_600.0]),
    )
    def begin(self, dated: tuple[bool, ...], progress_interval: float, settle: float) -> None:
        """Choose the settings, and let every operation be sent."""
        self.policy = Policy(progress_interval=progress_interval, settle=settle)
        self.truths = [Truth(id=op(number), dated=one) for number, one in enumerate(dated)]
        for truth in self.truths:
            truth.move("SCHEDULED", (), self.clock())
        self._configure()
        self.register(list(range(OPERATIONS - 1)), "a")

    # operations

    @rule(
        numbers=st.lists(operations, min_size=1, max_size=3),
        label=st.sampled_from("ab"),
        group=st.none() | group_names,
    )
    def register(self, numbers: list[int], label: str, group: str | None = None) -> None:
        """Register some, known or not, in a group or in none."""
        registrations = [
            Registration(id=op(number), kind="messages", labels={"label": label}, group=group)
            for number in numbers
        ]
        known_groups = self._group_names()
        with self.database.writing() as connection:
            known = set(connection.execute(select(watches.c.id)).scalars())
            results = registration_rows.register_all(
                connection,
                self.scope,
                registrations,
                self.clock(),
                policy=self.policy,
            )
        self._note_groups(known_groups, [event for result in results for event in result.events])
        for result in results:
            assert result.conflict is None or group is not None, result.conflict
            if result.is_new:
                self.ledger.begin(result.id, from_nothing=result.id not in known)
                known.add(result.id)

    @rule(number=operations)
    def forget(self, number: int) -> None:
        """Stop watching one."""
        with self.database.writing() as connection:
            forgotten = registration_rows.forget_watch(
                connection,
                self.scope,
                op(number),
                self.clock(),
                policy=self.policy,
            )
        self._note_events(forgotten.events)

    @rule(group=group_names, expected=st.none() | st.integers(1, OPERATIONS))
    def seal(self, group: str, expected: int | None) -> None:
        """Seal a group now, or with an expected number of members, where that can be."""
        known_groups = self._group_names()
        try:
            with self.database.writing() as connection:
                sealed = group_rows.seal_group(
                    connection,
                    self.scope,
                    group,
                    expected,
                    policy=self.policy,
                    now=self.clock(),
                )
        except (Conflict, group_rows.UnknownGroup):
            return
        self._note_groups(known_groups, sealed.events)

    @rule()
    def emit_what_groups_held_back(self) -> None:
        """Let housekeeping look for progress that is due."""
        with self.database.writing() as connection:
            due = group_rows.due_groups(connection, self.scope, self.clock())
            changes = group_rows.record_groups(
                connection,
                self.scope,
                due,
                policy=self.policy,
                now=self.clock(),
            )
        self._note_events([event for change in changes for event in change.events])

    @rule(number=operations, days=st.sampled_from([2, 15]))
    def forget_for_days(self, number: int, days: int) -> None:
        """Stop watching one until all but its stub is gone, or that too, and come back."""
        self.forget(number)
        self.quiet_days(days)
        self.register([number], "b")

    @rule(
        number=operations,
        status=st.sampled_from(["SCHEDULED", "PROCESSING", "PROCESSING", "NOVEL", "COMPLETED"]),
        moves=st.lists(st.tuples(counters, counters), max_size=4),
    )
    def move(self, number: int, status: str, moves: list[tuple[str, str]]) -> None:
        """Let something happen to an operation."""
        self.truths[number].move(status, moves, self.clock())

    @rule(
        number=operations,
        steps=st.lists(st.lists(st.tuples(counters, counters), max_size=3), max_size=4),
        pause=st.sampled_from([0.5, 11.0]),
    )
    def progress(self, number: int, steps: list[list[tuple[str, str]]], pause: float) -> None:
        """Let an operation progress, and see it on the way."""
        for moves in steps:
            self.move(number, "PROCESSING", [("queued", "sent"), *moves])
            self.clock.advance(pause)
            self._record((op(number), self.truths[number].answer(0, self.clock())))

    @rule(number=operations)
    def cancel(self, number: int) -> None:
        """Cancel an operation."""
        self.truths[number].move("CANCELED", (), self.clock())

    @rule(looks=st.lists(st.tuples(operations, st.integers(0, 3)), min_size=1, max_size=4))
    def observe(self, looks: list[tuple[int, int]]) -> None:
        """See some operations, as they are or as they were."""
        for number, age in looks:
            self._record((op(number), self.truths[number].answer(age, self.clock())))

    @rule(
        number=operations,
        kind=st.sampled_from([NotFoundAnswer, RejectedAnswer, FailedAnswer, NonsenseAnswer]),
    )
    def see_nothing(self, number: int, kind: type[Any]) -> None:
        """Get an answer that shows no operation."""
        members = {"why": "stats is missing"} if kind is NonsenseAnswer else {}
        now = self.clock()
        answer = kind(begun_at=now - timedelta(seconds=1), arrived_at=now, **members)
        self._record((op(number), answer))

    @rule(number=operations, strength=st.sampled_from(HintStrength), most=st.integers(1, 2))
    def hint(self, number: int, strength: HintStrength, most: int) -> None:
        """Take a hint, whether anything has happened or not: it makes no event."""
        with self.database.writing() as connection:
            hint_rows.record_hints(
                connection,
                self.scope,
                {op(number): strength},
                policy=self.policy,
                most=most,
                discovers=False,
                now=self.clock(),
            )

    @rule(limit=st.integers(1, 3))
    def poll(self, limit: int) -> None:
        """Claim what is due, and answer with what is; a claim may stay unanswered by a crash."""
        for one in self._claim(limit):
            truth = next(truth for truth in self.truths if truth.id == one)
            self._record((one, truth.answer(0, self.clock())))

    @rule(limit=st.integers(1, 3))
    def claim_and_stall(self, limit: int) -> None:
        """Claim what is due, and never answer."""
        self._claim(limit)

    # sinks

    @rule(name=names, room=st.integers(0, 3))
    def exchange(self, name: str, room: int) -> None:
        """Hand in what has ended and start what may go."""
        self._exchange(self.places[name], room)

    @rule(
        name=names,
        results=st.lists(
            st.tuples(
                st.sampled_from(
                    [
                        *[AttemptResult.DELIVERED] * 3,
                        *[AttemptResult.FAILED] * 2,
                        AttemptResult.REFUSED,
                    ]
                ),
                st.booleans(),
            ),
            min_size=1,
            max_size=4,
        ),
    )
    def attempt(self, name: str, results: list[tuple[AttemptResult, bool]]) -> None:
        """Let attempts end, well or badly."""
        self.places[name].end(results)

    @rule(name=names)
    def is_gone(self, name: str) -> None:
        """Let a place say that it wants nothing any more."""
        self.places[name].end([(AttemptResult.GONE, False)])

    @rule(name=names)
    def fail_for_days(self, name: str) -> None:
        """Let a place be out of order until what waits is given up."""
        place = self.places[name]
        for _ in range(3):
            self._exchange(place, 3)
            place.end([(AttemptResult.FAILED, False)] * len(place.in_flight))
            self.clock.advance(days=1.1)
        self._exchange(place, 0)

    @rule(name=names)
    def remove_or_add(self, name: str) -> None:
        """Reload with other settings: a sink less, or again."""
        self.configured ^= {name}
        self.places[name].crash()
        self._configure()

    # the world

    @rule()
    def crash(self) -> None:
        """Lose all that is not in the store, and start again."""
        self._crash()
        for place in self.places.values():
            place.crash()
        self._start()
        self._configure()
        lines = self.places["lines"]
        held = sorted({event_id for event_id, _ in lines.arrivals})
        with self.database.writing() as connection:
            delivery_rows.recall(connection, self.scope, lines.name, held, self.clock())

    @rule(by=seconds)
    def time_passes(self, by: float) -> None:
        """Wait."""
        self.clock.advance(by)

    @rule(by=st.sampled_from([5.0, 5_000.0]))
    def clock_goes_back(self, by: float) -> None:
        """Set the clock back; housekeeping notices."""
        self.clock.advance(-by)
        with self.database.writing() as connection:
            watch_rows.void_future_waits(connection, self.scope, self.clock())
            delivery_rows.void_future_waits(connection, self.scope, self.clock())
            group_rows.void_future_waits(connection, self.scope, self.clock())

    @rule(name=st.none() | names)
    def replay_dead(self, name: str | None) -> None:
        """Send dead letters again, of one sink or of all."""
        with self.database.writing() as connection:
            replay(connection, self.scope, Selection(sink=name), now=self.clock(), limit=10_000)

    @rule(data=st.data(), name=st.none() | names)
    def replay_one(self, data: st.DataObject, name: str | None) -> None:
        """Send any kept event again."""
        with self.database.writing() as connection:
            kept = list(
                connection.execute(select(events.c.id).order_by(events.c.position)).scalars()
            )
            if kept:
                chosen = kept[data.draw(st.integers(0, len(kept) - 1))]
                to = None if name is None else [name]
                replay_event(connection, self.scope, chosen, to, now=self.clock())

    @rule()
    def tidy(self) -> None:
        """Prune a step."""
        now = self.clock()
        before = now - RETENTION
        with self.database.writing() as connection:
            sink_rows.bury_absent(connection, self.scope, now)
        with self.database.writing() as connection:
            prune_groups(connection, self.scope, before=before, now=now)
        with self.database.writing() as connection:
            prune(connection, self.scope, before=before)
        with self.database.writing() as connection:
            remove_stubs(connection, self.scope, before=before)

    @rule(days=st.sampled_from([2, 15]))
    def quiet_days(self, days: int) -> None:
        """Deliver what can go, and let retention take what is done, in the end its stub too."""
        for name in sorted(self.configured):
            place = self.places[name]
            for _ in range(3):
                self._exchange(place, 10)
                place.end([(AttemptResult.DELIVERED, True)] * len(place.in_flight))
            self._exchange(place, 0)
        self.promises_hold()
        self.clock.advance(days=days)
        self.tidy()

    # what must hold

    @invariant()
    def promises_hold(self) -> None:
        """After every step: deltas, order, gaps, bodies, and no delivery lost."""
        self.ledger.note_states(self._states())
        self.ledger.check_histories()
        for place in self.places.values():
            self.ledger.check_arrivals(place)
            self.ledger.check_gaps(place)

    @invariant()
    def groups_are_what_their_members_are(self) -> None:
        """Compare sums and counts with the members until the end; then they stay as they are."""
        with self.database.reading() as connection:
            rows = connection.execute(select(watches)).mappings().all()
            found = connection.execute(select(groups)).mappings().all()
        members = [watch_of(row, self.scope) for row in rows]
        for row in found:
            group = group_of(row, self.scope)
            own = [watch for watch in members if watch.group == group.name]
            self.ledger.check_group(group, own)
            if group.ended_at is None:
                sums = [watch.recipients for watch in own]
                assert group.recipients == Recipients(
                    total=sum(one.total for one in sums),
                    done=sum(one.done for one in sums),
                    failed=sum(one.failed for one in sums),
                )

    def teardown(self) -> None:
        """End the trouble: every operation ends, every place takes what comes, nothing waits."""
        if not self.truths:
            return
        self._let_everything_end()
        self.promises_hold()
        self._check_that_all_groups_ended()
        with self.database.reading() as connection:
            now = summary(connection, self.scope, since=NOW, closed=())
        assert (now.watched, now.waiting, now.stuck) == (0, 0, 0)
        self._check_that_all_arrived()

    def _let_everything_end(self) -> None:
        for place in self.places.values():
            # a last "gone" among them disables a sink; the settings that follow enable it
            self._exchange(place, 0)
        self.configured = set(self.places)
        self._configure()
        for truth in self.truths:
            truth.finish(self.clock())
        for group in GROUPS:
            self.seal(group, None)
        for _ in range(200):
            self.clock.advance(400)
            self.poll(OPERATIONS)
            self.emit_what_groups_held_back()
            for place in self.places.values():
                place.end([(AttemptResult.DELIVERED, True)] * len(place.in_flight))
                self._exchange(place, 10)
            with self.database.reading() as connection:
                now = summary(connection, self.scope, since=NOW, closed=())
            if now.is_idle:
                return

    def _check_that_all_groups_ended(self) -> None:
        """Each that is sealed and has a member has said so, once."""
        with self.database.reading() as connection:
            found = connection.execute(select(groups)).mappings().all()
        for row in found:
            group = group_of(row, self.scope)
            assert group.due_at is None
            assert group.ended_at is not None or group.members.total == 0, group

    def _check_that_all_arrived(self) -> None:
        for place in self.places.values():
            arrived = {event_id for event_id, _ in place.arrivals}
            for recorded in self.ledger.wanted.get(place.name, ()):
                key = (place.name, recorded.position)
                assert recorded.id in arrived or key in self.ledger.has_died, "an event was lost"

    # steps

    def _crash(self) -> None:
        self.database.close()

    def _start(self) -> None:
        with self.database.writing() as connection:
            self.scope = find_or_create_scope(connection, HOME)
            watch_rows.void_leases(connection, self.scope)
            delivery_rows.void_leases(connection, self.scope)

    def _configure(self) -> None:
        with self.database.writing() as connection:
            wanted = [self.places[name].subscription for name in sorted(self.configured)]
            sink_rows.configure(connection, self.scope, declare(*wanted), self.clock())

    def _claim(self, limit: int) -> list[str]:
        with self.database.writing() as connection:
            claim = watch_rows.claim_due(
                connection,
                self.scope,
                kinds=["messages"],
                limit=limit,
                lease=LEASE,
                now=self.clock(),
            )
        return [watch.id for watch in claim.watches]

    def _record(self, *answers: tuple[str, Answer]) -> None:
        with self.database.writing() as connection:
            observations = watch_rows.record(
                connection,
                self.scope,
                answers,
                kind="messages",
                policy=self.policy,
                lease_owner=LEASE.owner,
                now=self.clock(),
                random=self.random,
            )
        for observation in observations:
            self._note_events(observation.events)

    def _group_names(self) -> set[str]:
        with self.database.reading() as connection:
            return set(connection.execute(select(groups.c.name)).scalars())

    def _note_groups(self, known: set[str], made: Sequence[StoredEvent]) -> None:
        for name in self._group_names() - known:
            self.ledger.begin(name, from_nothing=True)
        self._note_events(made)

    def _note_events(self, made: Sequence[StoredEvent]) -> None:
        wanting = [self.places[name] for name in sorted(self.configured)]
        for recorded in made:
            self.ledger.record(recorded, wanting)

    def _exchange(self, place: PrunePlace, room: int) -> None:
        if place.name not in self.configured:
            return
        request = ClaimRequest(
            sink=place.name,
            limit=0 if place.in_order and place.in_flight else room,
            in_order=place.in_order,
            in_flight=len(place.in_flight),
            lease=LEASE,
        )
        with self.database.writing() as connection:
            exchange = delivery_rows.complete_and_claim(
                connection,
                self.scope,
                place.finished,
                request,
                now=self.clock(),
                random=self.random,
            )
        place.finished = []
        place.in_flight += [(claim, self.clock()) for claim in exchange.claimed]

    def _states(self) -> dict[tuple[str, int], DeliveryState]:
        query = select(deliveries.c.sink, deliveries.c.position, deliveries.c.state)
        with self.database.reading() as connection:
            return {
                (row.sink, row.position): DeliveryState(row.state)
                for row in connection.execute(query)
            }


@pytest.fixture(autouse=True)
def _database(migrated_file: Path) -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="poller-machine-", dir=FAST) as directory:
        StoreMachine.empty = migrated_file
        StoreMachine.database = Database(f"sqlite:///{directory}/poller.db")
        yield
        StoreMachine.database.close()


@pytest.mark.hypothesis
def test_whatever_happens_the_promises_hold() -> None:
    """A short run with every `make test`, ten times that in `make slow`."""
    run_state_machine_as_test(StoreMachine, settings=settings(SETTINGS, max_examples=times(0.4)))


@pytest.mark.soak
def test_whatever_happens_for_long_the_promises_hold() -> None:
    """A long one with `make soak`."""
    many = settings(SETTINGS, max_examples=3_000, stateful_step_count=80)
    run_state_machine_as_test(StoreMachine, settings=many)
