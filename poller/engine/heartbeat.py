"""Whether the loops turn: each says so itself, at every turn, and nobody says it for another.

A loop that waits lawfully (a paused account, a request within its deadline) turns all the same,
every few seconds. So one that is silent for long hangs, and so does one that was never heard of.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Final

import anyio

__all__ = ["Heartbeats"]

_HANGS_AFTER: Final = 30.0
"""Seconds: longer than the longest wait for the store's lock."""


class Heartbeats:
    """When each loop last turned, on a monotonic clock in seconds."""

    def __init__(
        self, expected: Collection[str] = (), *, clock: Callable[[], float] = anyio.current_time
    ) -> None:
        self._clock = clock
        self._beats: dict[str, float | None] = dict.fromkeys(expected)
        self._listener: Callable[[], None] | None = None

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every beat, in the loop that beats; it must not block."""
        self._listener = listener

    def beat(self, loop: str) -> None:
        """Say that this loop turns."""
        self._beats[loop] = self._clock()
        if self._listener is not None:
            self._listener()

    def leave(self, loop: str) -> None:
        """Say that this loop has ended in order."""
        self._beats.pop(loop, None)

    @property
    def ages(self) -> Mapping[str, float | None]:
        """Seconds since the last beat of each loop; None for one that has not begun."""
        now = self._clock()
        return {
            loop: None if beat is None else max(0.0, now - beat)
            for loop, beat in self._beats.items()
        }

    def silent(self, seconds: float = _HANGS_AFTER) -> frozenset[str]:
        """Name the loops that hang: no beat for so long, or none at all."""
        return frozenset(loop for loop, age in self.ages.items() if age is None or age > seconds)
