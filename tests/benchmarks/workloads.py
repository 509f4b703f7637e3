"""Seeded operations as functions of time: what an observer would see, and when it truly ended.

Lengths, sizes and lags are drawn; what a workload is named after is drawn widely. No workload is
shaped after a rule of the poller's: sends are steady, slow down, stall, or are broken off.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

from poller.comms.models import Message, Operation
from poller.tracking.answer import Answer, FoundAnswer, ScheduleAnswer
from poller.tracking.watch import NextRequest, Watch

__all__ = ["END", "START", "WORKLOADS", "Course", "seconds_after"]

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
END: Final = frozenset(("COMPLETED", "CANCELED"))
_POINTS: Final = 200


def seconds_after(seconds: float) -> datetime:
    """Return the moment this many virtual seconds after the start."""
    return START + timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """The true course of one operation; times in seconds after its creation.

    `passing` and `finishing` hold the moments at which each 200th part of the messages has left
    the queue and is done; between them messages go one by one. `ended_at` is when the status
    becomes `end`. `created` is in seconds after the start.
    """

    name: str
    total: int
    passing: tuple[float, ...]
    finishing: tuple[float, ...]
    ended_at: float
    begins: float = 0.0
    end: str = "COMPLETED"
    storm: tuple[float, float] = (0.0, 0.0)
    created: float = 0.0

    def is_stormy(self, at: float) -> bool:
        """Tell whether the API answers 429 at that moment."""
        return self.storm[0] <= at < self.storm[1]

    def at(self, at: float) -> Operation:
        """Return what the API would answer."""
        if at < self.begins:
            return self._answer("SCHEDULED", at, scheduled=self.total)
        moment = min(at, self.ended_at) if self.end == "CANCELED" else at
        passed = self._count(self.passing, moment)
        done = min(passed, self._count(self.finishing, moment))
        sent, queued = passed - done, self.total - passed
        if at < self.ended_at:
            return self._answer("PROCESSING", at, queued=queued, sent=sent, delivered=done)
        left = {"canceled": queued} if self.end == "CANCELED" else {}
        return self._answer(self.end, at, sent=sent, delivered=done, **left)

    def answer(self, watch: Watch, at: float, *, now: datetime) -> Answer:
        """Return what the API would answer to the next look at `watch`."""
        if watch.next_request is not NextRequest.SCHEDULE:
            return FoundAnswer(found=self.at(at), begun_at=now, arrived_at=now)
        message = Message(
            id=self.name.replace("operation", "message"),
            status=self.at(at).status,
            counters={},
            scheduled_for=seconds_after(self.created + self.begins),
            created_at=seconds_after(self.created),
            updated_at=None,
            raw={},
        )
        return ScheduleAnswer(messages=[message], begun_at=now, arrived_at=now)

    def _count(self, moments: Sequence[float], at: float) -> int:
        whole = bisect_right(moments, at)
        if whole == len(moments):
            return self.total
        before, after = moments[whole - 1] if whole else self.begins, moments[whole]
        part = (at - before) / (after - before) if after > before else 0.0
        return int(self.total * (whole + max(0.0, part)) / len(moments))

    def _answer(self, status: str, at: float, **stats: int) -> Operation:
        """Make the snapshot without JSON: decoding is not what is measured here."""
        counters = {"total": self.total, "recipients": self.total, **stats}
        return Operation(
            id=self.name,
            status=status,
            counters=counters,
            created_at=seconds_after(self.created),
            updated_at=seconds_after(self.created + at),
            raw={"id": self.name, "status": status, "stats": counters},
        )


def _steady(
    random: Random,
    number: int,
    *,
    length: float | None = None,
    lag: float | None = None,
    begins: float = 0.0,
    shape: Callable[[float], float] = lambda part: part,
) -> Course:
    """Make a send of `length` seconds with receipts about `lag` behind.

    `shape` maps the part that has left the queue to the part of the time that it took.
    """
    length = random.uniform(120, 900) if length is None else length
    lag = random.uniform(1, 5) if lag is None else lag
    passing = [begins + length * shape((point + 1) / _POINTS) for point in range(_POINTS)]
    return Course(
        name=f"comms_operation_0{number:025d}",
        total=random.randint(500, 10_000),
        passing=tuple(passing),
        finishing=tuple(sorted(moment + random.expovariate(1 / lag) for moment in passing)),
        ended_at=passing[-1] + random.uniform(0.2, 2.0),
        begins=begins,
    )


def _short(random: Random, number: int) -> Course:
    return _steady(random, number, length=random.uniform(5, 60))


def _medium(random: Random, number: int) -> Course:
    return _steady(random, number)


def _long(random: Random, number: int) -> Course:
    return _steady(random, number, length=random.uniform(1800, 7200))


def _stalling(random: Random, number: int) -> Course:
    where, gap = random.uniform(0.2, 0.8), random.uniform(0.3, 1.5)
    return _steady(random, number, shape=lambda part: part if part < where else part + gap)


def _heavy_tail(random: Random, number: int) -> Course:
    return _steady(random, number, shape=lambda part: part**3 * 0.7 + part * 0.3)


def _scheduled(random: Random, number: int) -> Course:
    return _steady(random, number, begins=random.uniform(300, 3600))


def _canceled(random: Random, number: int) -> Course:
    length = random.uniform(120, 900)
    course = _steady(random, number, length=length)
    return replace(course, end="CANCELED", ended_at=length * random.uniform(0.1, 0.9))


def _late_receipts(random: Random, number: int) -> Course:
    """Complete only when every receipt is in, which takes long for a few."""
    course = _steady(random, number, lag=random.uniform(10, 40))
    return replace(course, ended_at=course.finishing[-1] + random.uniform(0.2, 2.0))


def _stormy(random: Random, number: int) -> Course:
    length = random.uniform(120, 900)
    begin = length * random.uniform(0.1, 0.9)
    course = _steady(random, number, length=length)
    return replace(course, storm=(begin, begin + random.uniform(10, 60)))


WORKLOADS: Final[Mapping[str, Callable[[Random, int], Course]]] = {
    "short sends (5–60 s)": _short,
    "medium sends (2–15 min)": _medium,
    "long sends (30–120 min)": _long,
    "stalls": _stalling,
    "heavy tails": _heavy_tail,
    "scheduled (5–60 min ahead)": _scheduled,
    "canceled half-way": _canceled,
    "late receipts": _late_receipts,
    "429 storms": _stormy,
}
