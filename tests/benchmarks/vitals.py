"""How a daemon does, read from its store and from `/proc` at some moments while it works.

The store is asked for histograms, counted in SQL: to carry 100,000 rows out of it each time would
cost as much as what is measured.
"""

import sqlite3
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.benchmarks.process import cost_of

__all__ = ["Vitals", "settled"]

_STEP: Final = 0.05
_PAUSE: Final = 2.0
_SETTLED: Final = (
    "SELECT count(*), coalesce(sum(wait < ?), 0) FROM watches WHERE observed_at IS NOT NULL"
)
_LAGS: Final = (
    "SELECT max(0, CAST(? - due_at AS INTEGER) / ?), count(*)"
    " FROM watches WHERE due_at IS NOT NULL GROUP BY 1"
)
_AGES: Final = (
    "SELECT max(0, CAST(? - set_at AS INTEGER) / ?), count(*)"
    " FROM watches WHERE due_at IS NOT NULL GROUP BY 1"
)


def _ask(database: Path, query: str, *values: float) -> list[tuple[int, int]]:
    """Run a query beside the daemon; nothing comes of it before the daemon has made its tables."""
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            return connection.execute(query, values).fetchall()
    except sqlite3.OperationalError:
        return []


def settled(database: Path, *, size: int, wait: float, timeout: float) -> None:
    """Wait until all operations were seen and wait at least `wait` seconds for their next poll."""
    deadline = time.monotonic() + timeout
    while _ask(database, _SETTLED, wait) != [(size, 0)]:
        assert time.monotonic() < deadline, "the fleet does not come to rest"
        time.sleep(_PAUSE)


@dataclass(kw_only=True)
class Vitals:
    """Histograms of all moments together, in steps of 50 ms, and the most memory."""

    rss: float = 0.0
    _lags: Counter[int] = field(default_factory=Counter)
    _ages: Counter[int] = field(default_factory=Counter)

    def take(self, database: Path, pid: int) -> None:
        """Look once."""
        now, step = int(time.time() * 1e6), int(_STEP * 1e6)
        for query, counts in ((_LAGS, self._lags), (_AGES, self._ages)):
            for number, count in _ask(database, query, now, step):
                counts[number] += count
        self.rss = max(self.rss, cost_of(pid).rss)

    @property
    def lag(self) -> float:
        """Seconds that all but one in a hundred were overdue at most."""
        return _p99(self._lags)

    @property
    def age(self) -> float:
        """Seconds since the last look at all but one in a hundred at most."""
        return _p99(self._ages)


def _p99(counts: Mapping[int, int]) -> float:
    left = 0.99 * sum(counts.values())
    for number in sorted(counts):
        left -= counts[number]
        if left <= 0:
            return (number + 1) * _STEP
    return 0.0
