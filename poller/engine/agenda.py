"""What is to be looked at and when, in memory: a heap for each kind, so that one can be paused."""

from collections.abc import Iterable
from heapq import heappop, heappush


class Agenda:
    """Ids and the moments they are due, in seconds of a monotonic clock; first due, first taken.

    The same moment is served in the order of putting. An id is put again after it was taken.
    """

    def __init__(self) -> None:
        self._heaps: dict[str, list[tuple[float, int, str]]] = {}
        self._count = 0

    def put(self, operation_id: str, *, kind: str, due: float) -> None:
        """Note that this is to be looked at from `due` on."""
        self._count += 1
        heappush(self._heaps.setdefault(kind, []), (due, self._count, operation_id))

    def take(self, kinds: Iterable[str], *, now: float) -> str | None:
        """Take out what has been due longest among these kinds; None where nothing is due."""
        heap = self._first(kinds)
        return heappop(heap)[2] if heap is not None and heap[0][0] <= now else None

    def next_due(self, kinds: Iterable[str]) -> float | None:
        """Tell when something of these kinds is due next; None where there is nothing."""
        heap = self._first(kinds)
        return None if heap is None else heap[0][0]

    def _first(self, kinds: Iterable[str]) -> list[tuple[float, int, str]] | None:
        heaps = [heap for kind in kinds if (heap := self._heaps.get(kind))]
        return min(heaps, key=lambda heap: heap[0], default=None)
