"""What a look at an operation can bring back, as values: the input of `observe`.

401 and 403 are not among them: they say nothing about the operation, so they never come here.
"""

from dataclasses import dataclass
from datetime import datetime

from poller.comms.models import Operation

__all__ = ["Answer", "Failed", "Nonsense", "NotFound", "Rejected", "Seen"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """`begun_at` is when the request was begun, `arrived_at` when its answer was complete."""

    begun_at: datetime
    arrived_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen(_Look):
    """The operation itself. `fetched` is False where it came from a list."""

    operation: Operation
    fetched: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFound(_Look):
    """404 to a fetch of this operation, in the vendor's envelope."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected(_Look):
    """400 to a fetch of this operation, in the vendor's envelope."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nonsense(_Look):
    """A good status with a document that is not this operation; `why` names the member."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(_Look):
    """Anything else: no answer, or one that says nothing about the operation."""


Answer = Seen | NotFound | Rejected | Nonsense | Failed
