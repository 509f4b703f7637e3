"""Real daemons that share a store."""

import http.client
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.fakes.api import FakeApi
from tests.fakes.process import Poller, eventually

_READY = 60.0


class Member:
    """One daemon, and its control API."""

    def __init__(self, process: Poller, port: int) -> None:
        self.process = process
        self.port = port

    def ask(self, method: str, path: str, document: object = None) -> Any:  # noqa: ANN401 - JSON
        """Send a request to its control API; returns the document of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            body = None if document is None else json.dumps(document)
            headers = {"Content-Type": "application/json"} if body else {}
            connection.request(method, path, body, headers)
            return json.loads(connection.getresponse().read() or b"null")
        finally:
            connection.close()

    def register(self, ids: Sequence[str]) -> None:
        """Register operations here."""
        self.ask("POST", "/v1/operations", {"operations": [{"id": one} for one in ids]})

    def degraded(self) -> dict[str, str]:
        """Return what it reports as degraded, with the hints."""
        found = self.ask("GET", "/readyz")["degraded"]
        return {each["what"]: each["hint"] for each in found}


class Fleet:
    """Starts daemons on one database."""

    def __init__(self, url: str, api: FakeApi, directory: Path, stack: ExitStack) -> None:
        self.url = url
        self._api = api
        self._directory = directory
        self._stack = stack
        self._started = 0

    def begin(self, **settings: str) -> Poller:
        """Start a daemon and do not wait for it; settings are named like `api__timeout`."""
        self._started += 1
        directory = self._directory / f"daemon-{self._started}"
        directory.mkdir()
        variables: Mapping[str, str] = {
            **self._api.environment,
            "POLLER_STORE__URL": self.url,
            "POLLER_POLLING__MIN_INTERVAL": "1s",
            "POLLER_POLLING__MAX_INTERVAL": "1s",
            "POLLER_POLLING__PROGRESS_INTERVAL": "0s",
            **{f"POLLER_{name.upper()}": value for name, value in settings.items()},
        }
        return self._stack.enter_context(Poller("run", cwd=directory, environment=variables))

    def start(self, number: int = 1, /, **settings: str) -> list[Member]:
        """Start daemons, and wait until they listen and know of each other."""
        begun = [self.begin(**settings) for _ in range(number)]
        return [_ready(process) for process in begun]


def _ready(process: Poller) -> Member:
    eventually(lambda: bool(process.logged("daemon.started")), timeout=_READY)
    eventually(lambda: bool(process.logged("server.listening")), timeout=_READY)
    address = process.logged("server.listening")[0]["address"]
    return Member(process, int(str(address).rpartition(":")[2].rstrip("/")))
