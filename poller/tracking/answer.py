"""The possible answers to a poll, as values: the input of `observe`.

401 and 403 are not among them: they say nothing about what is watched.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from poller.comms.models import ErrorPage, Message, MessagePage, Operation
from poller.tracking.breakdown.steps import Request
from poller.tracking.event import Event
from poller.tracking.watch import Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class _Timed:
    """`begun_at` is when the request was begun, `arrived_at` when its answer was complete."""

    begun_at: datetime
    arrived_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundAnswer(_Timed):
    """The operation or message itself. `fetched` is False where it came from a list."""

    found: Operation | Message
    fetched: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleAnswer(_Timed):
    """Messages of a scheduled operation, one page at most; empty where they cannot be read."""

    messages: Sequence[Message] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptsAnswer(_Timed):
    """The receipts of a group message, one status for each recipient."""

    statuses: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakdownAnswer(_Timed):
    """The answer to one request of a breakdown; `found` is None where it was refused for good."""

    request: Request
    found: ErrorPage | MessagePage | Message | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFoundAnswer(_Timed):
    """404 to a fetch of what is watched, in the vendor's envelope."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedAnswer(_Timed):
    """400 to a fetch of what is watched, in the vendor's envelope."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NonsenseAnswer(_Timed):
    """A success whose document does not have the expected shape; `why` names the member."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedAnswer(_Timed):
    """Anything else: no answer, or one that says nothing about what is watched.

    `answered` is True where there was an answer that did not ask to wait: a 500, a gateway's page.
    """

    answered: bool = False


Answer = (
    FoundAnswer
    | ScheduleAnswer
    | ReceiptsAnswer
    | BreakdownAnswer
    | NotFoundAnswer
    | RejectedAnswer
    | NonsenseAnswer
    | FailedAnswer
)


class Verdict(StrEnum):
    """The effect of an answer, for logs and metrics."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    STALE = "stale"
    NONSENSE = "nonsense"
    ABSENT = "absent"
    FAILED = "failed"
    LATE = "late"
    """The watch had ended, or was registered as another kind, before the answer came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The state to write and the events to record with it, in order."""

    watch: Watch
    events: tuple[Event, ...]
    verdict: Verdict
