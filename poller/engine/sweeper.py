"""Sweeps: reading the list of a kind, page by page, where that costs fewer requests.

There is one sweep at a time. Meanwhile due operations of its kind are not fetched: the next page
may show them. Those that the whole sweep did not show are fetched afterwards, and the next sweep
begins only after as many requests as the sweep took: so lists use half of the rate at most, and
fetches do not starve.

A refusal that pauses the account need not concern the list. So when the pause is over, another
request goes first, and then the sweep continues with the same page. If that request is answered and
the page is refused again, the list itself is refused.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import anyio

from poller.comms.caller import ApiCaller, Request
from poller.comms.errors import CommsError, Scope
from poller.comms.kinds import KINDS
from poller.comms.models import OperationPage
from poller.comms.throttle import Ticket
from poller.engine.configuration import Configuration
from poller.engine.log_events import PollLog, log_discovered
from poller.engine.meter import NO_METER, Meter
from poller.engine.signals import Signals
from poller.log import get_logger
from poller.store.store import Store
from poller.store.sweeps import Listed
from poller.tracking.sweep_policy import (
    PAGE,
    Experience,
    Reach,
    after_failure,
    after_sweep,
    is_worth_it,
)

log = get_logger()

_FAILURES: Final = 3
# a longer list is treated as endless: 1,000 pages are a million operations
_MOST_PAGES: Final = 1000
# seconds for which due operations are left to the daemon that sweeps their kind
_LEAVE_TO_SWEEP: Final = 3.0
# the vendor's clock and ours may differ
_MARGIN: Final = timedelta(minutes=5)


@dataclass(slots=True, kw_only=True)
class Sweep:
    """One reading of a list, and its progress.

    `due` and `tracked` are the numbers of operations at its beginning, `shown` the number of
    tracked ones on its pages so far.
    """

    kind: str
    start_date: datetime | None
    begun_at: datetime
    due: int
    tracked: int
    token: str | None = None
    pages: int = 0
    shown: int = 0
    ended_at: datetime | None = None
    failures: int = 0
    good_answers: int | None = None
    """The number of good answers at the last refusal; None before the first."""
    stands_aside: bool = False
    """Whether another request goes first, because a refusal of the page paused the account."""
    is_reading: bool = False
    recording: anyio.Lock = field(default_factory=anyio.Lock)


class Sweeper:
    """Chooses between list and fetch, and reads the pages of a sweep.

    The poll loop is woken as soon as the next page may be requested: one page is requested while
    the one before it is recorded, never more.
    """

    def __init__(
        self,
        *,
        store: Store,
        caller: ApiCaller,
        now: Callable[[], datetime],
        configuration: Callable[[], Configuration],
        signals: Signals,
        log: PollLog,
        meter: Meter = NO_METER,
    ) -> None:
        self._store = store
        self._caller = caller
        self._now = now
        self._configuration = configuration
        self._signals = signals
        self._log = log
        self._meter = meter
        self._sweep: Sweep | None = None
        self._experience: dict[str, Experience] = {}
        self._last: dict[str, Sweep] = {}
        # turns that a kind must leave to fetches before its next sweep
        self._owed_fetches: dict[str, int] = {}
        self._yields = False
        # only where daemons share the store: the kinds that others sweep, and whether each is being
        # read now; since when this daemon leaves a kind to them; the kind that it sweeps itself
        self._swept_by_others: Mapping[str, bool] = {}
        self._left_since: Mapping[str, float] = {}
        self._announced: str | None = None

    @property
    def busy_with(self) -> frozenset[str]:
        """The kind that is being swept: its operations are not fetched meanwhile."""
        if self._sweep is None or self._yields:
            return frozenset()
        return frozenset({self._sweep.kind})

    async def read_other_sweeps(self, open_kinds: Collection[str]) -> None:
        """Read which kinds other daemons sweep, and leave those to them where a sweep pays.

        Only for a few seconds: the other daemon may have a reason not to read the list.
        """
        now = anyio.current_time()
        self._swept_by_others = await self._store.shared.swept_elsewhere(self._store.owner)
        kinds = self._swept_by_others.keys() & set(open_kinds)
        due = await self._store.due_by_kind(kinds=kinds) if kinds else {}
        since: dict[str, float] = {}
        for kind, number in due.items():
            tracked = Reach(tracked=await self._store.tracked_of(kind=kind))
            if is_worth_it(number, tracked, Experience(), now=self._now()):
                is_read = self._swept_by_others[kind]
                since[kind] = now if is_read else self._left_since.get(kind, now)
        self._left_since = since

    @property
    def left_to_others(self) -> frozenset[str]:
        """The kinds whose due operations another daemon is expected to find in a list."""
        earliest = anyio.current_time() - _LEAVE_TO_SWEEP
        return frozenset(kind for kind, since in self._left_since.items() if since > earliest)

    async def begin(self, open_kinds: Collection[str]) -> None:
        """Begin a sweep where none is under way and one is due."""
        if self._sweep is not None:
            return
        await self._report_end()
        kinds = frozenset(open_kinds) - self._swept_by_others.keys()
        sweep = await self._discovery_sweep(kinds)
        if sweep is None and self._configuration().sweep:
            sweep = await self._refresh_sweep(kinds)
        if sweep is not None and await self._become_sweeper(sweep.kind):
            self._sweep = sweep

    def next_page(self, open_kinds: Collection[str]) -> Sweep | None:
        """Return the sweep whose next page is to be requested now, if any."""
        sweep, self._yields = self._sweep, False
        if sweep is None or not self.has_page(open_kinds):
            return None
        if sweep.stands_aside:
            sweep.stands_aside, self._yields = False, True
            return None
        return sweep

    def has_page(self, open_kinds: Collection[str]) -> bool:
        """Whether a sweep is under way whose next page can be requested."""
        sweep = self._sweep
        return sweep is not None and not sweep.is_reading and sweep.kind in open_kinds

    def is_discovery_due(self, open_kinds: Collection[str]) -> bool:
        """Whether it is time for a sweep that may discover operations."""
        return self._configuration().discover_age is not None and any(
            self._is_time_to_discover(kind)
            for kind in set(open_kinds) - self._swept_by_others.keys()
        )

    async def read(self, sweep: Sweep, ticket: Ticket) -> None:
        """Request the next page of a sweep and record it."""
        try:
            page = await self._caller.send(
                ticket,
                lambda client: client.list_operations(
                    KINDS[sweep.kind],
                    start_date=sweep.start_date,
                    page_token=sweep.token,
                    page_size=PAGE,
                ),
                name=Request.LIST,
            )
        except CommsError as error:
            self._log.failure(error, kind=sweep.kind)
            self._failed(sweep, error)
            sweep.is_reading = False
        else:
            self._log.success()
            await self._accept_page(sweep, page, ticket)

    def give_up(self, sweep: Sweep) -> None:
        """End a sweep that cannot continue; until the next one its operations are fetched."""
        if self._sweep is not sweep:
            return
        self._experience[sweep.kind] = after_failure(
            self._experience_of(sweep.kind), now=self._now()
        )
        log.warning("sweep.given_up", kind=sweep.kind, pages=sweep.pages)
        self._sweep = None

    async def _become_sweeper(self, kind: str) -> bool:
        """Become the daemon that sweeps a kind; False where another one does."""
        if not self._store.is_shared:
            return True
        is_held = await self._store.shared.hold_sweep(kind, self._store.owner, is_reading=True)
        self._announced = kind if is_held else None
        return is_held

    async def _report_end(self) -> None:
        """Report the end of the sweep: other daemons may fetch what it did not show."""
        if self._announced is not None:
            await self._store.shared.hold_sweep(
                self._announced, self._store.owner, is_reading=False
            )
            self._announced = None

    async def _discovery_sweep(self, open_kinds: Collection[str]) -> Sweep | None:
        if self._configuration().discover_age is None:
            return None
        for kind in sorted(open_kinds):
            if self._is_time_to_discover(kind):
                return self._new_sweep(kind, await self._store.reach(kind=kind), due=0)
        return None

    async def _refresh_sweep(self, open_kinds: Collection[str]) -> Sweep | None:
        due = await self._store.due_by_kind(kinds=open_kinds) if open_kinds else {}
        for kind, number in sorted(due.items(), key=lambda item: -item[1]):
            # one fetch never costs more than a sweep
            if number > 1 and (sweep := await self._sweep_if_cheaper(kind, number)) is not None:
                return sweep
        return None

    async def _sweep_if_cheaper(self, kind: str, due: int) -> Sweep | None:
        experience, now = self._experience_of(kind), self._now()
        if self._owed_fetches.get(kind, 0) > 0:
            self._owed_fetches[kind] -= 1
            return None
        if experience.is_fresh(now) and due * experience.shown <= experience.pages:
            return None
        tracked = Reach(tracked=await self._store.tracked_of(kind=kind))
        fresh = due - await self._missed(kind, now)
        if not is_worth_it(fresh, tracked, experience, now=now):
            return None
        return self._new_sweep(kind, await self._store.reach(kind=kind), due=due)

    async def _missed(self, kind: str, now: datetime) -> int:
        """Count the due operations that the last sweep should have shown."""
        last = self._last.get(kind)
        if last is None or last.begun_at > now:
            return 0
        return await self._store.still_due(kind=kind, since=last.begun_at)

    def _new_sweep(self, kind: str, reach: Reach, *, due: int) -> Sweep:
        """Make a sweep back to the oldest operation that is tracked or may be discovered."""
        now = self._now()
        moments = [moment for moment in (reach.oldest, self._discover_since(now)) if moment]
        oldest = min(moments, default=None)
        return Sweep(
            kind=kind,
            start_date=None if oldest is None else oldest - _MARGIN,
            begun_at=now,
            due=due,
            tracked=reach.tracked,
        )

    async def _accept_page(self, sweep: Sweep, page: OperationPage, ticket: Ticket) -> None:
        """Record a page while the next one is requested; after the last, end the sweep."""
        arrived_at = self._now()
        repeats_itself = page.next_token is not None and page.next_token == sweep.token
        sweep.pages += 1
        sweep.failures = 0
        sweep.token = page.next_token
        is_last = page.next_token is None or repeats_itself or sweep.pages >= _MOST_PAGES
        async with sweep.recording:
            if not is_last:
                sweep.is_reading = False
                self._signals.polls.notify()
            await self._record(sweep, page, ticket, arrived_at)
        if self._sweep is sweep and page.next_token is None:
            await self._finish(sweep)
        elif is_last:
            self.give_up(sweep)

    async def _record(
        self, sweep: Sweep, page: OperationPage, ticket: Ticket, arrived_at: datetime
    ) -> None:
        swept = await self._store.record_page(
            Listed(
                kind=sweep.kind,
                operations=page.operations,
                begun_at=ticket.begun_at,
                arrived_at=arrived_at,
            ),
            policy=self._configuration().policy,
            discover_since=self._discover_since(self._now()),
        )
        for problem in page.problems:
            self._log.nonsense(problem, kind=sweep.kind)
        log_discovered(swept.discovered)
        self._meter.paged(kind=sweep.kind, unchanged=swept.quiet, nonsense=len(page.problems))
        self._meter.observed(swept.observations, kind=sweep.kind)
        if self._log.observations(swept.observations):
            self._signals.notify_recorded()
        sweep.shown += swept.shown

    async def _finish(self, sweep: Sweep) -> None:
        missed = await self._store.still_due(kind=sweep.kind, since=sweep.begun_at)
        sweep.ended_at = now = self._now()
        self._experience[sweep.kind] = after_sweep(
            pages=sweep.pages, tracked=sweep.tracked, shown=sweep.shown, now=now
        )
        self._last[sweep.kind] = sweep
        self._owed_fetches[sweep.kind] = min(missed, sweep.pages)
        self._sweep = None
        log.debug(
            "sweep.done",
            kind=sweep.kind,
            pages=sweep.pages,
            due=sweep.due,
            not_shown=missed,
            seconds=round((now - sweep.begun_at).total_seconds(), 3),
        )

    def _failed(self, sweep: Sweep, error: CommsError) -> None:
        is_pause = error.scope is Scope.ACCOUNT
        if not is_pause:
            sweep.failures += 1
        elif sweep.good_answers != self._caller.good_answers:
            sweep.failures += 1
            sweep.good_answers = self._caller.good_answers
        sweep.stands_aside = is_pause
        # a page that was rejected or not found will be so at a retry too
        if error.scope is Scope.REQUEST or sweep.failures >= _FAILURES:
            self.give_up(sweep)

    def _experience_of(self, kind: str) -> Experience:
        return self._experience.get(kind, Experience())

    def _is_time_to_discover(self, kind: str) -> bool:
        now, last = self._now(), self._last.get(kind)
        if self._experience_of(kind).holds_off(now):
            return False
        if last is None or last.ended_at is None or last.ended_at > now:
            return True
        return now - last.ended_at >= timedelta(seconds=self._configuration().policy.max_interval)

    def _discover_since(self, now: datetime) -> datetime | None:
        age = self._configuration().discover_age
        return None if age is None else now - timedelta(seconds=age)
