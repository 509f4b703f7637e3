"""A start: seconds of CPU from the process's beginning to `GET /readyz` → 200.

Beside it what the libraries alone cost that no daemon can do without, in turn with it: machines
differ and have moods, so the ratio is to be read. All run from compiled modules, as an installed
program does.
"""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Final
from urllib.parse import urlsplit

from tests.benchmarks.process import cost_of
from tests.fakes.process import Poller, eventually

__all__ = ["measure"]

_LIBRARIES: Final = "import httpx, sqlalchemy, pydantic"
_STORE: Final = "POLLER_STORE__URL"
_SETTINGS: Final = {
    "POLLER_API__ACCOUNT_SID": "ACtest00000000000000000000000000",
    "POLLER_API__AUTH_TOKEN": "never-used",
    # nothing is watched, so nobody asks
    "POLLER_API__BASE_URL": "http://127.0.0.1:9/v1",
    "POLLER_SERVER__LISTEN": "127.0.0.1:0",
}


def measure(starts: int, *, directory: Path) -> list[dict[str, object]]:
    """Measure starts on a store that is not there yet, and on one that is current."""
    environment = {**_SETTINGS, "PYTHONPYCACHEPREFIX": str(directory / "compiled")}

    def started(store: str) -> float:
        url = f"sqlite:///{directory / store}.db"
        return _start({**environment, _STORE: url}, directory)

    numbers = iter(range(starts + 1))
    scenes: Mapping[str, Callable[[], float]] = {
        _LIBRARIES: lambda: _libraries(environment),
        "an empty store": lambda: started(f"new-{next(numbers)}"),
        "a current store": lambda: started("current"),
    }
    # the first round compiles, and makes the store that is current from then on
    rounds = [{name: run() for name, run in scenes.items()} for _ in range(starts + 1)][1:]
    yardstick = median(one[_LIBRARIES] for one in rounds)
    return [_row(name, [one[name] for one in rounds], yardstick) for name in scenes]


def _row(name: str, found: list[float], yardstick: float) -> dict[str, object]:
    return {
        "start": name,
        "CPU s (median)": median(found),
        "least": min(found),
        "most": max(found),
        "ratio": median(found) / yardstick,
        "runs": len(found),
    }


def _libraries(environment: Mapping[str, str]) -> float:
    before = _cpu_of_children()
    subprocess.run(
        [sys.executable, "-c", _LIBRARIES],
        env={"PATH": os.environ["PATH"], **environment},
        check=True,
    )
    return _cpu_of_children() - before


def _cpu_of_children() -> float:
    """Count the seconds of all that have ended: one at a time, here."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _start(environment: Mapping[str, str], directory: Path) -> float:
    # a process of its own: the tests' usual ones are forked, with everything imported
    own = ("-m", "poller")
    with Poller("run", cwd=directory, environment=environment, program=own) as daemon:
        eventually(lambda: bool(daemon.logged("server.listening")))
        address = urlsplit(str(daemon.logged("server.listening")[0]["address"])).netloc
        eventually(lambda: _is_ready(address))
        return cost_of(daemon.process.pid).cpu


def _is_ready(address: str) -> bool:
    connection = HTTPConnection(address, timeout=30)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        return answer.status == HTTPStatus.OK
    finally:
        connection.close()
