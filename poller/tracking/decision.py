"""What comes of an answer, as values: the output of `observe`."""

from dataclasses import dataclass
from enum import StrEnum

from poller.tracking.event import Event
from poller.tracking.watch import Watch

__all__ = ["Decision", "Verdict"]


class Verdict(StrEnum):
    """What became of an answer, for logs and metrics."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    STALE = "stale"
    NONSENSE = "nonsense"
    ABSENT = "absent"
    FAILED = "failed"
    LATE = "late"
    """Nobody waited for the answer any more when it came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The state to write and the events to record with it, in order."""

    watch: Watch
    events: tuple[Event, ...]
    verdict: Verdict
