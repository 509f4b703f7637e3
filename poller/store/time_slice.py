"""Time slices: work that may be long is done in parts, each in a short transaction of its own."""

from time import monotonic
from typing import Final

# Seconds. All other writers of a SQLite file wait for a slice and its commit; in a shorter one,
# much of the time would be the fixed cost of a transaction.
_SECONDS: Final = 0.012


class TimeSlice:
    """The time that a transaction has for its work, from now on; the commit comes on top.

    The work is done in small chunks, at least one, until `is_over`.
    """

    def __init__(self) -> None:
        self._end = monotonic() + _SECONDS

    @property
    def is_over(self) -> bool:
        """Whether the transaction should be committed now, and another one do the rest."""
        return monotonic() >= self._end
