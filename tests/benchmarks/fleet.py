"""Fleets over real sockets: `poller run` against the simulator in another process.

Scenes: `still`, where counters stand; `moving`, where every look at any operation finds new
counters; `storm`, where they move and three of ten requests meet a 429. The poller finds the
operations by discovery, is stopped, and started again without; it writes final events to a file.
Requests are counted by the simulator, which also says how many were under way at once and how
many came in the busiest second; CPU and memory are read from `/proc`, lag and age from the store.

    age   how long ago an operation was last looked at, at random moments
    lag   how long it was overdue then

Both are asked to look at every operation every second (10,000: every two), so that the freshness
is the same and the cost is compared; the largest fleet every minute, which is the default.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.process import cost_of
from tests.benchmarks.simulated import Simulated
from tests.benchmarks.vitals import Vitals, settled
from tests.fakes.process import Poller

__all__ = ["measure"]

Row = dict[str, object]

_PAGE: Final = 1000
_LARGE: Final = 100_000
_CONCURRENCY: Final = 4
_PATIENCE: Final = 900.0
# a message leaves the queue after a second of the simulator's time, the last of 10,000 after 650
_SPEEDS: Final = {"still": "0.00001", "moving": "0.2", "storm": "0.2"}
_FAULTS: Final = {"storm": {"rate_429": 0.3, "retry_after": 1.0}}
_STORMY: Final = 10_000
_RECIPIENTS: Final = 10_000
_MOMENTS: Final = 15


def measure(sizes: Sequence[int], *, seconds: float, directory: Path) -> Iterator[Row]:
    """Measure each size in its scenes, and the baseline beside."""
    for size in sizes:
        for scene, speed in _SPEEDS.items():
            if scene == "storm" and size != min(_STORMY, max(sizes)):
                continue
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


_OWN: Final = ("-m", "poller")
"""A new interpreter: the tests' usual processes are forked, and share their memory."""
_BARE: Final = "the figures are those of the loops alone, as in earlier measurements"


def _interval(size: int) -> float:
    """Return the seconds between two looks at an operation that are asked for."""
    return 60.0 if size >= _LARGE else max(1.0, -(-size // _PAGE) / _budget(size))


def _ours(simulator: Simulated, size: int, scene: str, seconds: float, place: Path) -> Row:
    budget, database = _budget(size), place / "poller.db"
    variables = {
        **simulator.environment,
        "POLLER_API__REQUESTS_PER_SECOND": str(budget),
        "POLLER_API__MAX_CONCURRENCY": str(_CONCURRENCY),
        "POLLER_POLLING__PROGRESS_INTERVAL": "10m",
        "POLLER_LOG__LEVEL": "warning",
        "POLLER_SINKS": '{"out": {"type": "file", "path": "events", "events": ["final"]}}',
    }
    with Poller(
        "run", "--discover", cwd=place, environment=variables, without_server=_BARE, program=_OWN
    ) as daemon:
        settled(database, size=size, wait=0, timeout=_PATIENCE)
        assert daemon.stop(60) == 0, daemon.err[-5:]
    variables["POLLER_POLLING__MAX_INTERVAL"] = str(_interval(size))
    with Poller(
        "run", cwd=place, environment=variables, without_server=_BARE, program=_OWN
    ) as daemon:
        pid = daemon.process.pid
        # the first looks are close together; then waits have grown to what they stay at
        if scene == "still":
            settled(database, size=size, wait=_interval(size), timeout=_PATIENCE)
        time.sleep(min(seconds, 20))
        vitals, begun = Vitals(), time.monotonic()
        simulator.reset()
        simulator.turn(**_FAULTS.get(scene, {}))
        before = cost_of(pid).cpu
        for moment in range(_MOMENTS):
            vitals.take(database, pid)
            time.sleep(max(0.0, begun + seconds * (moment + 1) / _MOMENTS - time.monotonic()))
        cpu, took, stats = cost_of(pid).cpu - before, time.monotonic() - begun, simulator.stats()
        assert daemon.stop(60) == 0, daemon.err[-5:]
    assert stats["peak_concurrency"] <= _CONCURRENCY, stats
    assert stats["peak_rate"] <= budget + 1, stats
    return _row(
        size, f"ours, {scene}", observed=_observed(stats, size), stats=stats, seconds=took,
        cpu=cpu, rss=vitals.rss, lag=vitals.lag, age=vitals.age,
    )  # fmt: skip


def _observed(stats: Mapping[str, Any], size: int) -> int:
    """Count what was shown: a page shows as much as it can hold, a fetch one."""
    routes: Mapping[str, Mapping[str, int]] = stats["requests"]
    pages = routes.get("GET /v1/Messages/Operations", {}).get("200", 0)
    fetches = routes.get("GET /v1/Messages/Operations/{id}", {}).get("200", 0)
    return pages * min(size, _PAGE) + fetches


def _naive(simulator: Simulated, names: Sequence[str], seconds: float) -> Row:
    size = len(names)
    variables = simulator.environment
    simulator.reset()
    done = subprocess.run(
        [
            sys.executable, "-m", "tests.benchmarks.naive",
            "--url", simulator.base_url,
            "--user", variables["TWILIO_ACCOUNT_SID"],
            "--password", variables["TWILIO_AUTH_TOKEN"],
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
        size, "one task each", observed=observed, stats=simulator.stats(), seconds=found["seconds"],
        cpu=found["cpu"], rss=found["rss"], lag=found["lag"],
        age=size / max(1e-9, observed / found["seconds"]),
    )  # fmt: skip


def _row(
    size: int,
    who: str,
    *,
    observed: int,
    stats: Mapping[str, Any],
    seconds: float,
    cpu: float,
    rss: float,
    lag: float,
    age: float,
) -> Row:
    # the baseline has warmed up meanwhile: every request of it is one observation
    requests = observed if who.startswith("one") else int(stats["total"])
    return {
        "operations": size,
        "who": who,
        "observed/s": observed / seconds,
        "requests/s": requests / seconds,
        "at once": int(stats["peak_concurrency"]),
        "busiest second": int(stats["peak_rate"]),
        "requests per 1,000 observed": 1000 * requests / max(1, observed),
        "CPU s per 1,000 observed": 1000 * cpu / max(1, observed),
        "cores": cpu / seconds,
        "RSS MiB": rss,
        "lag p99 s": lag,
        "age p99 s": age,
    }
