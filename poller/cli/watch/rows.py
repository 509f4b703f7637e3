"""What a live view shows of each watch, and sums over all. Pure: the clock is an argument."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from heapq import nsmallest
from typing import Final, Self

from poller.cli.formatting import breakdown_text, labels_text, message_text
from poller.cli.watch.news import Update
from poller.text import printable
from poller.tracking.forecast import finished_per_second
from poller.tracking.watch import Outcome, Phase, ResourceType, Watch

_NOT_REACHED: Final = ("failed", "undelivered", "unaddressable", "canceled")
_SHORTEST_NAME: Final = 6
_LONGEST_STATUS: Final = 24
# If not all fit, lower ranks are shown first.
_RANKS: Final[Mapping[str, int]] = {
    "processing": 1,
    "explaining": 2,
    "settling": 2,
    "scheduled": 3,
    "waiting": 4,
}
_RANK_OF_OTHERS: Final = 1
_RANK_OF_FAILED: Final = 5
_RANK_OF_ENDED: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchRow:
    """One operation or message at one moment.

    `status` is in lower case; "waiting" before the first answer, "not found" while all answers
    are 404 or 400. `total` is None if unknown. `rate` is finished recipients per second, `left`
    the estimated seconds ≥ 0 until all are finished; each is None while unknown.
    For a message `attempts` describes it instead.
    """

    id: str
    resource_type: ResourceType
    status: str
    reason: str | None
    counts: Mapping[str, int]
    """Finished recipients: those reached (delivered, or sent if no more is reported) and others."""
    done: int
    total: int | None
    rate: float | None
    left: float | None
    ended: bool
    attempts: str = ""
    breakdown: str | None = None
    """Which errors occurred; None without a breakdown."""
    labels: str = ""
    group: str | None = None
    polled: float | None = None
    """Seconds since its last answer; None before the first, and once it has ended."""
    due: float = 0.0
    """Seconds until the next poll."""

    @property
    def share(self) -> float:
        """The finished share, from 0 to 1."""
        return min(self.done / self.total, 1.0) if self.total else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """The latest state of one watch, and what only its events contain."""

    watch: Watch
    reason: str | None = None
    breakdown: str | None = None

    def after(self, update: Update) -> Self:
        """Return the track after one more update."""
        reasons = [event.reason for event in update.events]
        explained = [
            breakdown_text(event.breakdown)
            for event in update.events
            if event.breakdown is not None
        ]
        reason = next((reason for reason in reasons if reason), self.reason)
        breakdown = explained[-1] if explained else self.breakdown
        return replace(self, watch=update.watch, reason=reason, breakdown=breakdown)

    def row(self, now: datetime) -> WatchRow:
        """Return what to show at `now` (UTC)."""
        watch = self.watch
        ended = not watch.is_watched
        done, total = watch.progress.done, watch.progress.total
        rate = None if ended else self.rate
        return WatchRow(
            id=watch.id,
            resource_type=watch.resource_type,
            status=status_of(watch),
            reason=self.reason,
            counts=_counts(watch),
            done=done,
            total=total,
            rate=rate,
            left=self._left(rate, done, total, now),
            ended=ended,
            attempts=_attempts(watch),
            breakdown=self.breakdown,
            labels=printable(labels_text(watch.labels)),
            group=watch.group,
            polled=_polled(watch, now),
            due=max(0.0, (watch.next_poll.due_at - now).total_seconds()),
        )

    @property
    def rate(self) -> float | None:
        """Recipients finished per second between the last answers; None while nothing moves."""
        return finished_per_second(self.watch.looks)

    def _left(
        self, rate: float | None, done: int, total: int | None, now: datetime
    ) -> float | None:
        if rate is None or total is None:
            return None
        age = (now - self.watch.looks[-1].at).total_seconds()
        return max(0.0, (total - done) / rate - max(0.0, age))


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums over many watches: their number by status, and the counts of recipients.

    `statuses` counts operations only.
    """

    operations: int = 0
    messages: int = 0
    ended: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    message_statuses: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def watches(self) -> int:
        """The number of operations and messages."""
        return self.operations + self.messages

    @classmethod
    def of(cls, watches: Iterable[Watch]) -> Self:
        """Sum up."""
        totals = cls()
        for watch in watches:
            totals = totals.changed(None, watch)
        return totals

    def changed(self, before: Watch | None, after: Watch) -> Self:
        """Return the sum with `after` in place of `before`, or added to it."""
        is_message = after.resource_type is ResourceType.MESSAGE
        statuses = (self.message_statuses if is_message else self.statuses).copy()
        counts = self.counts.copy()
        if before is not None:
            statuses[status_of(before)] -= 1
            counts.subtract(_counts(before))
        statuses[status_of(after)] += 1
        counts.update(_counts(after))
        return replace(
            self,
            operations=self.operations + (before is None and not is_message),
            messages=self.messages + (before is None and is_message),
            ended=self.ended
            + (not after.is_watched)
            - (before is not None and not before.is_watched),
            statuses=self.statuses if is_message else statuses,
            message_statuses=statuses if is_message else self.message_statuses,
            counts=counts,
        )


def status_of(watch: Watch) -> str:
    """Return its status in one or two words."""
    # the status of a single message says more than its outcome
    prefers_status = (
        watch.resource_type is ResourceType.MESSAGE and watch.status != "GROUP" and watch.is_final
    )
    if not prefers_status and watch.phase in {Phase.SETTLING, Phase.EXPLAINING}:
        return watch.phase.value
    if not prefers_status and watch.outcome is not None:
        return watch.outcome.value
    if watch.status is not None:
        return printable(watch.status, limit=_LONGEST_STATUS).lower()
    absent = watch.not_found_streak.not_found or watch.not_found_streak.rejected
    return "not found" if absent else "waiting"


def all_is_well(watches: Iterable[Watch]) -> bool:
    """Return whether all completed without failed recipients; canceled ones do not count as failed.

    A single message is judged by its outcome: an attempt may fail and a fallback deliver.
    """
    return all(
        watch.outcome is Outcome.COMPLETED and not watch.is_watched and not watch.progress.failed
        for watch in watches
    )


def busiest(tracks: Sequence[Track], most: int) -> Sequence[Track]:
    """Choose at most `most` to show, the most active first; keep their order."""
    if len(tracks) <= most:
        return tracks
    chosen = nsmallest(most, range(len(tracks)), key=lambda index: _rank(tracks[index]))
    return [tracks[index] for index in sorted(chosen)]


def short_names(ids: Sequence[str]) -> Mapping[str, str]:
    """Shorten ids to the shortest ends that are still distinct.

    The beginning of an id is a time, which operations of one campaign share.
    """
    longest = max((len(one) for one in ids), default=0)
    for length in range(_SHORTEST_NAME, longest):
        names = {one: one[-length:] for one in ids}
        if len(set(names.values())) == len(names):
            return {one: f"…{name}" for one, name in names.items()}
    return {one: one for one in ids}


def _rank(track: Track) -> tuple[int, float]:
    if not track.watch.is_watched:
        return (_RANK_OF_ENDED if all_is_well([track.watch]) else _RANK_OF_FAILED), 0.0
    rate = track.rate or 0.0
    return (0 if rate else _RANKS.get(status_of(track.watch), _RANK_OF_OTHERS)), -rate


def _polled(watch: Watch, now: datetime) -> float | None:
    if watch.observed_at is None or not watch.is_watched:
        return None
    return max(0.0, (now - watch.observed_at).total_seconds())


def _attempts(watch: Watch) -> str:
    is_seen_message = watch.resource_type is ResourceType.MESSAGE and watch.snapshot is not None
    return message_text(watch.snapshot or {}, watch.counters) if is_seen_message else ""


def _counts(watch: Watch) -> Mapping[str, int]:
    progress = watch.progress
    # if the vendor reports nothing after "sent", no recipient is known to be delivered
    ends_at = "sent" if progress.ends_at == "sent" else "delivered"
    return {
        "delivered": 0,
        **{name: progress.stages.get(name, 0) for name in _NOT_REACHED},
        ends_at: progress.reached,
    }
