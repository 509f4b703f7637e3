"""What a look can bring back, as values: the input of `observe`.

401 and 403 are not among them: they say nothing about what is watched, so they never come here.
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
class _Look:
    """`begun_at` is when the request was begun, `arrived_at` when its answer was complete."""

    begun_at: datetime
    arrived_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundAnswer(_Look):
    """The operation or message itself. `fetched` is False where it came from a list."""

    found: Operation | Message
    fetched: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleAnswer(_Look):
    """Messages of a scheduled operation, a page at most; none where they cannot be read."""

    messages: Sequence[Message] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptsAnswer(_Look):
    """How a group message fared, one status a recipient."""

    statuses: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakdownAnswer(_Look):
    """The answer to one request of a breakdown; `found` is None where it was refused for good."""

    request: Request
    found: ErrorPage | MessagePage | Message | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFoundAnswer(_Look):
    """404 to a fetch of this, in the vendor's envelope."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedAnswer(_Look):
    """400 to a fetch of this, in the vendor's envelope."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NonsenseAnswer(_Look):
    """A good status with a document that is not what was asked for; `why` names the member."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedAnswer(_Look):
    """Anything else: no answer, or one that says nothing about what is watched.

    `answered` is True where one came that was no plea for patience: a 500, a gateway's page.
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
