"""The request rate of an account: its pace, a daemon's share of it, and the source of permits.

One daemon alone keeps the pace in memory. Daemons that share a store take permits from it, a few
at a time, by the same rules applied to a stored pace.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Final, Protocol, Self

import anyio

from poller.comms.gate import Pause

_PORTION: Final = 0.4
"""Seconds: a daemon takes as many permits at once as the rate allows in this time."""
HORIZON: Final = 1.0
"""Seconds: permits for later than this are not granted yet, since their owner may die."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Requests `interval` seconds apart; one that follows a late one may be half an interval early.

    So any span of one second, at either end of a network, holds at most one request more than the
    rate. There are no bursts: over a network they would arrive as a multiple of the rate.
    `expected` is when the next one is planned, in seconds of any clock.
    """

    interval: float
    expected: float = float("-inf")

    @classmethod
    def of(cls, per_second: float) -> Self:
        """Return the pace of `per_second` requests a second.

        :raises ValueError: where that is not above 0.
        """
        if not per_second > 0:
            raise ValueError(f"requests_per_second is {per_second}, not a number above 0")
        return cls(interval=1.0 / per_second)

    def changed_to(self, per_second: float) -> Self:
        """Return the pace at another rate, from the next request on.

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

    def portion(self, now: float, most: int) -> tuple[Sequence[float], Self]:
        """Take up to `most` permits for the next second.

        Returns when each of them begins, and the pace after them.
        """
        starts, pace = list[float](), self
        # the clock went back: permits for later than any daemon may take are ignored
        if pace.expected > now + HORIZON + 2 * pace.interval:
            pace = replace(pace, expected=now)
        while len(starts) < most and (wait := pace.wait(now)) <= HORIZON:
            starts.append(now + wait)
            pace = pace.taken(now + wait)
        return starts, pace


def portion_size(per_second: float) -> int:
    """Return how many permits a daemon takes at once: those of two fifths of a second."""
    return max(1, ceil(per_second * _PORTION))


def share_of(total: int, *, daemons: int, others: int, in_flight: int, wanted: int) -> int:
    """Return how many requests a daemon may have under way.

    Of `total`, the other daemons have taken `others`. Requests under way continue. Of the rest a
    daemon gets what it wants to start, up to an equal share of `total` for each of `daemons`.
    """
    fair = ceil(total / max(1, daemons))
    free = max(0, total - others)
    return max(in_flight, min(fair, free, in_flight + wanted))


class Budget(Protocol):
    """The source of a throttle's permits."""

    @property
    def is_empty(self) -> bool:
        """Whether no permit is left until `refill` brings some."""
        ...

    def wait(self) -> float:
        """Return the seconds ≥ 0 until the next permit is valid, or `refill` may bring one."""
        ...

    def take(self) -> None:
        """Use the oldest permit."""
        ...

    def clear(self) -> None:
        """Drop the unused permits, because of a pause."""
        ...

    def configure(self, requests_per_second: float) -> None:
        """Continue at another rate.

        :raises ValueError: where that is not above 0.
        """
        ...

    async def refill(self, *, in_flight: int, hurried: bool) -> Pause | None:
        """Request permits while `in_flight` requests are under way; return the account's pause.

        In a pause at most one daemon gets a permit, which is for the probe: when the time of the
        pause is over, or at once where the probe is `hurried`.
        """
        ...


class OwnBudget:
    """The whole rate of an account for this process alone."""

    is_empty = False

    def __init__(self, requests_per_second: float) -> None:
        self._pace = Pace.of(requests_per_second)

    def wait(self) -> float:
        """Return the seconds ≥ 0 until a request may be sent."""
        return self._pace.wait(anyio.current_time())

    def take(self) -> None:
        """Record that a request is sent now."""
        self._pace = self._pace.taken(anyio.current_time())

    def clear(self) -> None:
        """Do nothing: the pace continues through a pause."""

    def configure(self, requests_per_second: float) -> None:
        """Continue at another rate.

        :raises ValueError: where that is not above 0.
        """
        self._pace = self._pace.changed_to(requests_per_second)

    async def refill(self, *, in_flight: int, hurried: bool) -> Pause | None:
        """Never called, since this budget is never empty.

        :raises NotImplementedError: always.
        """
        raise NotImplementedError
