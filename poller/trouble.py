"""Limits the log lines about repeated failures: a pure decision, and the lines.

A trouble is logged when it begins, when it changes, every few minutes with counts while it lasts,
and when it ends. Lines about a trouble that begins and ends again and again are limited by a budget
that refills slowly; the next line has the number of failures that were not logged.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Literal

from poller.clock import wall_clock
from poller.log import EventLog

_EVERY: Final = timedelta(minutes=5)
_BUDGET: Final = 8.0
_REFILL: Final = timedelta(minutes=1)
_MOST_KEYS: Final = 1000


class Stage(StrEnum):
    """What a line is about."""

    BEGINS = "begins"
    CHANGES = "changes"
    GOES_ON = "goes on"
    ENDS = "ends"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A line to log: `failures` since the trouble began, `unlogged` since the last line."""

    stage: Stage
    since: datetime
    failures: int
    unlogged: int


@dataclass(slots=True, kw_only=True)
class _Trouble:
    """The state of one subject; it is kept after the trouble ends, because of its budget."""

    kind: Hashable
    since: datetime
    logged_at: datetime
    refilled_at: datetime
    failed_at: datetime
    budget: float = _BUDGET
    failures: int = 0
    unlogged: int = 0
    is_open: bool = False
    is_logged: bool = False


@dataclass(slots=True)
class TroubleReporter:
    """Decides for any number of subjects; beyond a thousand it forgets the oldest. Pure.

    A trouble ends with the first success that is `quiet` later than its last failure: where many
    requests share a subject, the success of one says little about the others.
    """

    quiet: timedelta = timedelta()
    _troubles: dict[Hashable, _Trouble] = field(default_factory=dict)

    def failure(
        self,
        subject: Hashable,
        kind: Hashable,
        now: datetime,
        *,
        times: int = 1,
        is_urgent: bool = False,
    ) -> Notice | None:
        """Record failures of this kind; return the line to log, or None.

        `is_urgent` is for a change that must be logged at once, whatever the budget.
        """
        trouble = self._troubles.get(subject)
        if trouble is None:
            trouble = self._remember(subject, kind, now)
        if not trouble.is_open:
            trouble.is_open, trouble.is_logged = True, False
            trouble.since, trouble.failures = now, 0
        trouble.failures += times
        trouble.unlogged += times
        trouble.failed_at = now
        stage = _stage_of_failure(trouble, kind, now)
        if stage is None or not (is_urgent or _may_log(trouble, stage, now)):
            return None
        trouble.kind, trouble.is_logged = kind, True
        return _notice(trouble, stage, now)

    def success(self, subject: Hashable, now: datetime) -> Notice | None:
        """Record a success; return the line to log where it ends a logged trouble."""
        trouble = self._troubles.get(subject)
        if trouble is None or not trouble.is_open or now - trouble.failed_at < self.quiet:
            return None
        trouble.is_open = False
        return _notice(trouble, Stage.ENDS, now) if trouble.is_logged else None

    def _remember(self, subject: Hashable, kind: Hashable, now: datetime) -> _Trouble:
        if len(self._troubles) >= _MOST_KEYS:
            self._troubles.pop(next(iter(self._troubles)))
        trouble = _Trouble(kind=kind, since=now, logged_at=now, refilled_at=now, failed_at=now)
        self._troubles[subject] = trouble
        return trouble


def _stage_of_failure(trouble: _Trouble, kind: Hashable, now: datetime) -> Stage | None:
    if not trouble.is_logged:
        return Stage.BEGINS
    if kind != trouble.kind:
        return Stage.CHANGES
    # a clock that went back must not suppress lines
    is_long_ago = now - trouble.logged_at >= _EVERY or now < trouble.logged_at
    return Stage.GOES_ON if is_long_ago else None


def _may_log(trouble: _Trouble, stage: Stage, now: datetime) -> bool:
    if stage is Stage.GOES_ON:
        return True
    trouble.budget = min(
        _BUDGET, trouble.budget + max(timedelta(), now - trouble.refilled_at) / _REFILL
    )
    trouble.refilled_at = now
    if trouble.budget < 1:
        return False
    trouble.budget -= 1
    return True


def _notice(trouble: _Trouble, stage: Stage, now: datetime) -> Notice:
    notice = Notice(
        stage=stage, since=trouble.since, failures=trouble.failures, unlogged=trouble.unlogged
    )
    trouble.logged_at, trouble.unlogged = now, 0
    return notice


class TroubleLog:
    """Logs troubles that may repeat: the lines that matter at their level, all others at debug.

    A trouble is identified by its log event and its subject; there are few subjects: loops, kinds.
    """

    def __init__(
        self, now: Callable[[], datetime] | None = None, *, quiet: timedelta = timedelta()
    ) -> None:
        self._now = now or wall_clock
        self._reporter = TroubleReporter(quiet=quiet)

    def failure(
        self,
        log: EventLog,
        event: str,
        *,
        subject: Hashable = None,
        cause: Hashable = None,
        level: Literal["warning", "error"] = "warning",
        **fields: object,
    ) -> None:
        """Log one failure. A failure of another `cause` counts as a change.

        `unlogged` counts the failures that were logged only at debug since the last such line.
        """
        notice = self._reporter.failure((event, subject), cause, self._now())
        if notice is None:
            log.debug(event, **fields)
        else:
            getattr(log, level)(event, **fields, unlogged=notice.unlogged - 1)

    def success(
        self,
        log: EventLog,
        event: str,
        ended: str,
        *,
        subject: Hashable = None,
        **fields: object,
    ) -> None:
        """Log `ended` where this success ends the trouble that `event` and `subject` name."""
        now = self._now()
        notice = self._reporter.success((event, subject), now)
        if notice is not None:
            seconds = round((now - notice.since).total_seconds(), 3)
            log.info(ended, **fields, seconds=seconds, failures=notice.failures)
