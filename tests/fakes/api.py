"""A small Communications API for tests, independent of the simulator: a test scripts its answers.

A script for each operation is a list of answers, given out one request after the other; the last
one stays. Every request is kept, so that a test can count them.
"""

import base64
import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.fakes.served import Served

__all__ = ["FakeApi", "Reply", "envelope", "operation", "operation_id"]

ACCOUNT = "ACtest00000000000000000000000000"
TOKEN = "token-that-nobody-may-see"
_ALPHABET = "abcdefghjkmnpqrstvwxyz0123456789"


def operation_id(number: int) -> str:
    """Make a valid operation id of a number."""
    digits = ""
    for _ in range(25):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return f"comms_operation_0{digits}"


def operation(
    name: str, status: str, *, updated: int = 0, created: datetime | None = None, **stats: int
) -> dict[str, Any]:
    """Make an operation as the vendor documents it; `updated` is seconds after its creation."""
    counters = dict.fromkeys(
        "total recipients queued sent scheduled delivered read undelivered unaddressable failed "
        "canceled attempts".split(),
        0,
    )
    at = created or datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=10)
    return {
        "id": name,
        "status": status,
        "stats": counters | stats,
        "createdAt": _instant(at),
        "updatedAt": _instant(at + timedelta(seconds=updated)),
    }


def envelope(code: int, message: str) -> dict[str, Any]:
    """Make the vendor's error envelope."""
    return {"errors": [{"code": code, "message": message, "infoUrl": f"https://x.test/{code}"}]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer: `body` is JSON unless it is bytes; `delay` in seconds; `cut` ends it early."""

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut: bool = False

    @property
    def content(self) -> bytes:
        """The bytes to send."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class FakeApi(Served):
    """The server, in a thread of its own; a context manager."""

    def __init__(self) -> None:
        self.scripts: dict[str, list[Reply]] = {}
        self.requests: list[str] = []
        self.times: list[float] = []
        self.in_flight = self.peak = 0
        self.credentials = (ACCOUNT, TOKEN)
        self.override: Reply | None = None
        self._lock = threading.Lock()
        super().__init__(self._handler())

    @property
    def base_url(self) -> str:
        """The base URL, version included."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def environment(self) -> dict[str, str]:
        """What points a poller here."""
        return {
            "POLLER_API__BASE_URL": self.base_url,
            "TWILIO_ACCOUNT_SID": ACCOUNT,
            "TWILIO_AUTH_TOKEN": TOKEN,
        }

    def script(self, name: str, replies: Sequence[Reply | dict[str, Any]]) -> str:
        """Say what the next fetches of an operation answer; returns its id."""
        with self._lock:
            self.scripts[name] = [
                reply if isinstance(reply, Reply) else Reply(body=reply) for reply in replies
            ]
        return name

    def count(self, name: str) -> int:
        """Count the fetches of one operation."""
        return sum(path.endswith(name) for path in self.requests)

    def answer(self, path: str, authorization: str | None) -> Reply:
        """Choose the answer to one request."""
        expected = base64.b64encode(":".join(self.credentials).encode()).decode()
        with self._lock:
            self.requests.append(path)
            self.times.append(time.monotonic())
            if self.override is not None:
                return self.override
            if authorization != f"Basic {expected}":
                return Reply(status=401, body=envelope(20003, "Authenticate"))
            name = path.partition("?")[0].rpartition("/")[2]
            if name == "Operations":
                return self._list()
            replies = self.scripts.get(name)
            if not replies:
                return Reply(status=404, body=envelope(20404, "The resource was not found"))
            return _next(replies)

    def _list(self) -> Reply:
        """Answer with every operation whose next answer is one, on a single page."""
        operations = [
            _next(replies).body
            for replies in self.scripts.values()
            if replies[0].status == 200 and isinstance(replies[0].body, dict)
        ]
        return Reply(body={"operations": operations, "pagination": {"next": None, "self": "x"}})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with api._lock:
                    api.in_flight += 1
                    api.peak = max(api.peak, api.in_flight)
                try:
                    self._answer(api.answer(self.path, self.headers.get("authorization")))
                finally:
                    with api._lock:
                        api.in_flight -= 1

            def _answer(self, reply: Reply) -> None:
                if reply.delay:
                    time.sleep(reply.delay)
                content = reply.content
                self.send_response(reply.status)
                for name, value in {"content-type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2] if reply.cut else content)
                if reply.cut:
                    self.close_connection = True

            def log_message(self, *args: object) -> None:
                """Keep quiet."""

        return Handler


def _next(replies: list[Reply]) -> Reply:
    return replies.pop(0) if len(replies) > 1 else replies[0]


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
