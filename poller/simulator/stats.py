"""What was asked of the simulator: by route and outcome, how many at once, how many a second."""

import re
from collections import Counter, deque
from typing import Any, Final

from poller.simulator.kinds import KINDS

__all__ = ["Stats", "route_of"]

_ID: Final = re.compile(r"(?<=/)comms_[^/]*")
_KNOWN: Final = frozenset(
    f"/v1/{kind.path}{rest}"
    for kind in KINDS.values()
    for rest in ("", "/{id}", "/{id}/Receipts", "/Operations", "/Operations/{id}")
) | {f"/v1/{kind.path}/Operations/{{id}}/Errors" for kind in KINDS.values()}


def route_of(method: str, path: str) -> str:
    """Name the route of a request, with `{id}` for any id; one for all that are unknown."""
    template = _ID.sub("{id}", path)
    return f"{method} {template}" if template in _KNOWN else "unknown"


class Stats:
    """Counters since the start or the last `reset`; times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.reset()

    def reset(self) -> None:
        """Begin again; what is in flight stays."""
        self._total = 0
        self._peak_concurrency = self.in_flight
        self._peak_rate = 0
        self._begun: deque[float] = deque()
        self._outcomes: dict[str, Counter[str]] = {}

    def begin(self, at: float) -> None:
        """Count a request that has arrived."""
        self._total += 1
        self.in_flight += 1
        self._peak_concurrency = max(self._peak_concurrency, self.in_flight)
        self._begun.append(at)
        self._slide(at)
        self._peak_rate = max(self._peak_rate, len(self._begun))

    def end(self, route: str, outcome: str) -> None:
        """Count how it ended: a status, or the name of a fault that gave none."""
        self.in_flight -= 1
        self._outcomes.setdefault(route, Counter())[outcome] += 1

    def document(self, at: float) -> dict[str, Any]:
        """Return all counters; rates are requests in the last second and in the busiest one."""
        self._slide(at)
        return {
            "requests": {
                route: dict(sorted(outcomes.items()))
                for route, outcomes in sorted(self._outcomes.items())
            },
            "total": self._total,
            "in_flight": self.in_flight,
            "peak_concurrency": self._peak_concurrency,
            "last_second": len(self._begun),
            "peak_rate": self._peak_rate,
        }

    def _slide(self, at: float) -> None:
        while self._begun and self._begun[0] <= at - 1:
            self._begun.popleft()
