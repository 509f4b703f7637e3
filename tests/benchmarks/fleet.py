"""Fleets over real sockets: `poller run` against the simulator in another process.

Two scenes: `still`, where counters stand, and `moving`, where every look at any operation finds
new counters. The poller finds the operations by discovery and writes final events to a file;
requests are counted by the simulator, CPU and memory read from `/proc`, lag and age from the store.

    age   how long ago an operation was last looked at, at random moments
    lag   how long it was overdue then

Both are asked to look at every operation every second (10,000: every two), so that the freshness
is the same and the cost is compared; the largest fleet every minute, which is the default.
"""

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.benchmarks.process import cost_of
from tests.benchmarks.simulated import Simulated, requests_for
from tests.fakes.process import Poller, eventually

__all__ = ["measure"]

Row = dict[str, object]

_PAGE: Final = 1000
_LARGE: Final = 100_000
_CONCURRENCY: Final = 4
_PATIENCE: Final = 900.0
# a message leaves the queue after a second of the simulator's time, the last of 10,000 after 650
_SPEEDS: Final = {"still": "0.00001", "moving": "0.2"}
_RECIPIENTS: Final = 10_000


def measure(sizes: Sequence[int], *, seconds: float, directory: Path) -> Iterator[Row]:
    """Measure each size in both scenes, and the baseline beside."""
    for size in sizes:
        for scene, speed in _SPEEDS.items():
            place = directory / f"{scene}-{size}"
            place.mkdir()
            with Simulated("--speed", speed, cwd=place) as simulator:
                names = simulator.send(size, recipients=_RECIPIENTS)
                yield _ours(simulator, size, scene, seconds, place)
                if scene == "still":
                    yield _naive(simulator, names, seconds)


def _budget(size: int) -> float:
    """Allow the default of requests a second, and more for the largest fleet."""
    return 20 if size >= _LARGE else 5


def _interval(size: int) -> float:
    """Return the seconds between two looks at an operation that are asked for."""
    return 60.0 if size >= _LARGE else max(1.0, -(-size // _PAGE) / _budget(size))


@dataclass(kw_only=True)
class _Samples:
    """What was seen of the store and the process at some moments."""

    lags: list[float] = field(default_factory=list)
    ages: list[float] = field(default_factory=list)
    rss: float = 0.0

    def take(self, database: Path, pid: int) -> None:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            rows = connection.execute(
                "SELECT due_at, set_at FROM watches WHERE due_at IS NOT NULL"
            ).fetchall()
        now = time.time() * 1e6
        self.lags += [max(0.0, now - due_at) / 1e6 for due_at, _ in rows]
        self.ages += [(now - set_at) / 1e6 for _, set_at in rows]
        self.rss = max(self.rss, cost_of(pid).rss)


def _ours(simulator: Simulated, size: int, scene: str, seconds: float, place: Path) -> Row:
    budget = _budget(size)
    told = {
        **simulator.environment,
        "POLLER_API__REQUESTS_PER_SECOND": str(budget),
        "POLLER_API__MAX_CONCURRENCY": str(_CONCURRENCY),
        "POLLER_POLLING__MAX_INTERVAL": str(_interval(size)),
        "POLLER_POLLING__PROGRESS_INTERVAL": "10m",
        "POLLER_SERVER__LISTEN": "",
        "POLLER_LOG__LEVEL": "warning",
        "POLLER_SINKS": '{"out": {"type": "file", "path": "events", "events": ["final"]}}',
    }
    database = place / "poller.db"
    with Poller("run", "--discover", cwd=place, environment=told) as daemon:
        pid = daemon.process.pid
        eventually(lambda: _observed(database) == size, timeout=_PATIENCE)
        # the first looks are close together; then waits have grown to what they stay at
        time.sleep(min(seconds, 20))
        samples, begun = _Samples(), time.monotonic()
        simulator.reset()
        before = cost_of(pid).cpu
        while time.monotonic() - begun < seconds:
            samples.take(database, pid)
            time.sleep(1)
        cpu, took, stats = cost_of(pid).cpu - before, time.monotonic() - begun, simulator.stats()
        assert daemon.stop(60) == 0, daemon.err[-5:]
    assert stats["peak_concurrency"] <= _CONCURRENCY, stats
    assert stats["peak_rate"] <= budget + 1, stats
    lists = requests_for(stats, "Messages/Operations") - requests_for(stats, "Operations/{id}")
    fetches = requests_for(stats, "Operations/{id}")
    observed = lists * min(size, _PAGE) + fetches
    return _row(
        size, f"ours, {scene}", observed=observed, requests=int(stats["total"]), seconds=took,
        cpu=cpu, rss=samples.rss, lag=_p99(samples.lags), age=_p99(samples.ages),
    )  # fmt: skip


def _naive(simulator: Simulated, names: Sequence[str], seconds: float) -> Row:
    size = len(names)
    told = simulator.environment
    done = subprocess.run(
        [
            sys.executable, "-m", "tests.benchmarks.naive",
            "--url", simulator.base_url,
            "--user", told["TWILIO_ACCOUNT_SID"],
            "--password", told["TWILIO_AUTH_TOKEN"],
            "--interval", str(_interval(size)),
            "--seconds", str(seconds),
        ],
        input="\n".join(names),
        capture_output=True,
        text=True,
        check=True,
        timeout=_PATIENCE,
    )  # fmt: skip
    found = json.loads(done.stdout)
    observed = found["observed"]
    return _row(
        size, "one task each", observed=observed, requests=observed, seconds=found["seconds"],
        cpu=found["cpu"], rss=found["rss"], lag=found["lag"],
        age=size / max(1e-9, observed / found["seconds"]),
    )  # fmt: skip


def _row(
    size: int,
    who: str,
    *,
    observed: int,
    requests: int,
    seconds: float,
    cpu: float,
    rss: float,
    lag: float,
    age: float,
) -> Row:
    return {
        "operations": size,
        "who": who,
        "observed/s": observed / seconds,
        "requests/s": requests / seconds,
        "requests per 1,000 observed": 1000 * requests / max(1, observed),
        "CPU s per 1,000 observed": 1000 * cpu / max(1, observed),
        "cores": cpu / seconds,
        "RSS MiB": rss,
        "lag p99 s": lag,
        "age p99 s": age,
    }


def _observed(database: Path) -> int:
    if not database.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            query = "SELECT count(*) FROM watches WHERE observed_at IS NOT NULL"
            [(count,)] = connection.execute(query).fetchall()
    except sqlite3.OperationalError:
        return 0  # not migrated yet
    return int(count)


def _p99(values: list[float]) -> float:
    ordered = sorted(values)
    return ordered[int(0.99 * len(ordered))]
