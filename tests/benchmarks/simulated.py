"""The simulated API as `poller simulate`, in a process of its own."""

import json
import re
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

from tests.fakes.process import Poller, eventually

__all__ = ["Simulated", "requests_for"]

_EXPORT: Final = re.compile(r"export (\w+)=(\S+)")
_PATIENCE: Final = 120.0


class Simulated:
    """A simulator; a context manager that ends it. `options` are those of the command."""

    def __init__(self, *options: str, cwd: Path) -> None:
        self._process = Poller("simulate", "--port", "0", *options, cwd=cwd, environment={})
        self.environment: dict[str, str] = {}
        """What points a poller here."""

    def __enter__(self) -> Self:
        self._process.__enter__()
        eventually(lambda: any("_simulator/stats" in line for line in self._process.out))
        self.environment = {
            found[1]: found[2] for line in self._process.out if (found := _EXPORT.match(line))
        }
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.__exit__(exc_type, exc_value, traceback)

    @property
    def base_url(self) -> str:
        """The base URL, version included."""
        return self.environment["POLLER_API__BASE_URL"]

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.process.pid

    def send(self, count: int, **wanted: Any) -> list[str]:  # noqa: ANN401 - the members of a JSON body
        """Create this many operations; return their ids."""
        found = self.control("POST", "operations", {"count": count, **wanted})
        return [str(name) for name in found["operationIds"]]

    def turn(self, **faults: float) -> None:
        """Turn these faults."""
        self.control("PUT", "faults", faults)

    def stats(self) -> dict[str, Any]:
        """Return what was asked of it so far."""
        return self.control("GET", "stats")

    def reset(self) -> None:
        """Restart the counts."""
        self.control("DELETE", "stats")

    def control(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Use one of the simulator's own routes."""
        connection = HTTPConnection(urlsplit(self.base_url).netloc, timeout=_PATIENCE)
        try:
            connection.request(
                method,
                f"/_simulator/{path}",
                None if body is None else json.dumps(body),
                {"content-type": "application/json"},
            )
            answer = connection.getresponse()
            found: dict[str, Any] = json.loads(answer.read())
        finally:
            connection.close()
        assert answer.status == 200, found
        return found


def requests_for(stats: dict[str, Any], route: str) -> int:
    """Count the requests for a route, whatever became of them."""
    return sum(
        sum(outcomes.values()) for name, outcomes in stats["requests"].items() if route in name
    )
