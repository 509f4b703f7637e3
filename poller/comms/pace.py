"""How fast requests may follow each other. Pure: the generic cell rate algorithm, GCRA."""

from dataclasses import dataclass, replace
from typing import Self

__all__ = ["Pace"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Requests `interval` seconds apart; one may come up to half an interval early if it was owed.

    So any span of one second, seen from anywhere, holds at most one request more than the rate.
    There are no bursts: over a network they would arrive as a multiple of the rate. `expected` is
    when the next one belongs, in seconds of a monotonic clock.
    """

    interval: float
    expected: float = float("-inf")

    @classmethod
    def of(cls, per_second: float) -> Self:
        """Return the pace of so many requests a second.

        :raises ValueError: where that is not above 0.
        """
        if not per_second > 0:
            raise ValueError(f"requests_per_second is {per_second}, not a number above 0")
        return cls(interval=1.0 / per_second)

    def changed_to(self, per_second: float) -> Self:
        """Return the pace at another rate, which holds for the next request already.

        :raises ValueError: where that is not above 0.
        """
        interval = type(self).of(per_second).interval
        return replace(self, interval=interval, expected=self.expected - self.interval + interval)

    def wait(self, now: float) -> float:
        """Return the seconds ≥ 0 until a request may be sent."""
        return max(0.0, self.expected - self.interval / 2 - now)

    def taken(self, now: float) -> Self:
        """Return the pace after a request was sent at `now`."""
        return replace(self, expected=max(self.expected, now) + self.interval)
