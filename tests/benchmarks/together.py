"""A whole fleet in virtual time: one account, one budget, sweeps where they cost less.

The decisions are the project's own (`observe`, `is_worth_it`, `after_sweep`), the loop around
them is a short copy of the engine's: one request after the other, evenly spaced by the budget; a
sweep that has begun goes on; otherwise a list where it is worth it, else the longest overdue.
Answers take no time. A list shows every operation of the account back to the oldest that is
watched, the newest first, ended ones included, a page at the state of its moment.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Final

from poller.tracking.answer import Answer, FoundAnswer
from poller.tracking.observe import observe
from poller.tracking.pacing import Policy
from poller.tracking.registration import Registration, register
from poller.tracking.sweep_policy import (
    PAGE,
    Experience,
    Reach,
    after_sweep,
    is_worth_it,
)
from poller.tracking.watch import AccountScope, NextPoll, NextRequest, Watch
from tests.benchmarks.workloads import Course, seconds_after

__all__ = ["BUDGET", "RETRY_AFTER", "SPREAD", "watch_together"]

BUDGET: Final = 5.0
"""Requests a second, for all together: the default of the settings."""
SPREAD: Final = 600.0
"""Operations begin within this many seconds."""
RETRY_AFTER: Final = 5.0
_STORMS: Final = 3
_MARGIN: Final = timedelta(minutes=5)
_HOME: Final = AccountScope(account="AC", base_url="http://api.test/v1")
_POLICY: Final = Policy()


def watch_together(courses: Sequence[Course], random: Random) -> tuple[float, list[float]]:
    """Watch all to their ends; requests per operation, and the delay of each."""
    spread = [replace(course, created=random.uniform(0, SPREAD)) for course in courses]
    fleet = _Fleet(sorted(spread, key=lambda course: course.created), random)
    requests = fleet.run()
    return requests / len(courses), fleet.delays


@dataclass(slots=True)
class _Sweep:
    begun_at: float
    oldest: float
    tracked: int
    position: int
    pages: int = 0
    shown: int = 0
    stands_aside: bool = False


@dataclass
class _Fleet:
    """The account as it is, and what is known of it."""

    courses: Sequence[Course]
    random: Random
    at: float = 0.0
    known: dict[str, Watch] = field(default_factory=dict)
    delays: list[float] = field(default_factory=list)
    experience: Experience = field(default_factory=Experience)
    sweep: _Sweep | None = None
    registered: int = 0

    def __post_init__(self) -> None:
        self._by_name = {course.name: course for course in self.courses}
        # a storm hits the whole account
        self._storms = [
            (course.created + course.storm[0], course.created + course.storm[1])
            for course in self.courses[:: max(1, len(self.courses) // _STORMS)]
        ]

    @property
    def now(self) -> datetime:
        return seconds_after(self.at)

    def run(self) -> int:
        requests = 0
        while len(self.delays) < len(self.courses):
            self._register()
            if self._turn():
                requests += 1
                self.at += 1 / BUDGET
        return requests

    def _register(self) -> None:
        """Take in what has been sent by now."""
        while (
            self.registered < len(self.courses) and self.courses[self.registered].created <= self.at
        ):
            course = self.courses[self.registered]
            registration = Registration(id=course.name, kind="messages")
            self.known[course.name], _ = register(
                None, registration, scope=_HOME, now=seconds_after(course.created)
            )
            self.registered += 1

    def _turn(self) -> bool:
        """Send one request, or let time pass until there is something to ask."""
        if self.sweep is None:
            self.sweep = self._begin()
        if self.sweep is not None and self.sweep.stands_aside:
            self.sweep.stands_aside = False
        elif self.sweep is not None:
            self._read(self.sweep)
            return True
        first = min(self.known.values(), key=lambda watch: watch.next_poll.due_at, default=None)
        if first is not None and first.next_poll.due_at <= self.now:
            self._fetch(first)
            return True
        self.at = self._next_moment(first)
        return False

    def _next_moment(self, first: Watch | None) -> float:
        moments = [course.created for course in self.courses[self.registered : self.registered + 1]]
        if first is not None:
            moments.append((first.next_poll.due_at - seconds_after(0)).total_seconds())
        return max(self.at, min(moments)) + 1e-6

    def _begin(self) -> _Sweep | None:
        listed = [watch for watch in self.known.values() if _is_listed(watch)]
        due = sum(watch.next_poll.due_at <= self.now for watch in listed)
        reach = Reach(tracked=len(listed))
        if due < 2 or not is_worth_it(due, reach, self.experience, now=self.now):
            return None
        oldest = min(self._by_name[watch.id].created for watch in listed)
        return _Sweep(
            begun_at=self.at,
            oldest=oldest - _MARGIN.total_seconds(),
            tracked=len(listed),
            position=self.registered,
        )

    def _read(self, sweep: _Sweep) -> None:
        if self._refused():
            # the account pauses; something else is asked first, and then the same page again
            sweep.stands_aside = True
            return
        page = self.courses[max(0, sweep.position - PAGE) : sweep.position]
        sweep.position -= len(page)
        sweep.pages += 1
        shown = [course for course in page if course.created >= sweep.oldest]
        for course in shown:
            if course.name in self.known and _is_listed(self.known[course.name]):
                sweep.shown += 1
                self._observe(course)
        if sweep.position == 0 or len(shown) < len(page):
            self.experience = after_sweep(
                pages=sweep.pages, tracked=sweep.tracked, shown=sweep.shown, now=self.now
            )
            self.sweep = None

    def _fetch(self, watch: Watch) -> None:
        if self._refused():
            # asked again after the pause, behind what has been waiting for longer
            again = NextPoll(wait=watch.next_poll.wait, due_at=self.now, set_at=self.now)
            self.known[watch.id] = watch.evolve(next_poll=again)
        else:
            course = self._by_name[watch.id]
            self._take(course, course.answer(watch, self.at - course.created, now=self.now))

    def _observe(self, course: Course) -> None:
        """See an operation on a page of the list."""
        found = course.at(self.at - course.created)
        now = self.now
        self._take(course, FoundAnswer(found=found, begun_at=now, arrived_at=now, fetched=False))

    def _take(self, course: Course, answer: Answer) -> None:
        after = self._judge(self.known[course.name], answer)
        if after.is_watched:
            self.known[course.name] = after
        else:
            del self.known[course.name]
            self.delays.append(self.at - course.created - course.ended_at)

    def _judge(self, watch: Watch, answer: Answer) -> Watch:
        return observe(
            watch, answer, policy=_POLICY, now=self.now, jitter=self.random.random()
        ).watch

    def _refused(self) -> bool:
        """Tell whether the API answers 429; then the account pauses."""
        stormy = any(begin <= self.at < end for begin, end in self._storms)
        if stormy:
            self.at += RETRY_AFTER
        return stormy


def _is_listed(watch: Watch) -> bool:
    """Tell whether a list of operations can answer what is asked of it next."""
    return watch.next_request is NextRequest.OPERATION
