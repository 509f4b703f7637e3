"""What stands between a poller and an API: counts what passes, answers instead, or holds it."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from http.client import HTTPConnection
from itertools import count
from urllib.parse import urlsplit

from tests.fakes.api import FakeApi, Reply

__all__ = ["ApiProxy"]

_PATIENCE = 60.0


class ApiProxy(FakeApi):
    """The way to the API at `upstream`, a base URL; a context manager.

    `instead` is asked for every request, by its path and query, and may answer it; `rewrite`
    changes what is passed on, `edit` the body that comes back; one for which `holds` is true gets
    no answer until `let_go`. `moments` are when the requests came, by the wall clock.
    """

    def __init__(self, upstream: str) -> None:
        super().__init__()
        self.instead: Callable[[str], Reply | None] = lambda _: None
        self.rewrite: Callable[[str], str] = lambda path: path
        self.edit: Callable[[bytes], bytes] = lambda body: body
        self.holds: Callable[[str], bool] = lambda _: False
        self.holding = threading.Event()
        self.moments: list[datetime] = []
        self.answered: list[str] = []
        self._open = threading.Event()
        self._netloc = urlsplit(upstream).netloc

    @property
    def environment(self) -> dict[str, str]:
        """What points a poller here; the credentials are the API's."""
        return {"POLLER_API__BASE_URL": self.base_url}

    def hold_from(self, kind: Callable[[str], bool], *, number: int) -> None:
        """Hold, of the requests of that kind from now on, all from that number on."""
        self.holding.clear()
        self._open = threading.Event()
        met = count(1)
        self.holds = lambda path: kind(path) and next(met) >= number

    def let_go(self) -> None:
        """Answer what is held, and hold nothing any more."""
        self.holds = lambda _: False
        self._open.set()

    def asked(self, part: str) -> list[str]:
        """Return the requests so far whose path or query holds `part`."""
        return [path for path in list(self.requests) if part in path]

    def answer(self, path: str, authorization: str | None) -> Reply:
        """Pass one request on, or do as the test wants."""
        with self._lock:
            self.requests.append(path)
            self.moments.append(datetime.now(UTC))
            is_held, gate = self.holds(path), self._open
        if is_held:
            self.holding.set()
            gate.wait(_PATIENCE)
        reply = self.instead(path) or self._pass_on(path, authorization)
        self.answered.append(path)
        return reply

    def _pass_on(self, path: str, authorization: str | None) -> Reply:
        connection = HTTPConnection(self._netloc, timeout=_PATIENCE)
        try:
            connection.request(
                "GET", self.rewrite(path), headers={"authorization": authorization or ""}
            )
            answer = connection.getresponse()
            kept = {"retry-after": found} if (found := answer.getheader("retry-after")) else {}
            return Reply(status=answer.status, body=self.edit(answer.read()), headers=kept)
        finally:
            connection.close()
