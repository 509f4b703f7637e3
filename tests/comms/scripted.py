"""A raw TCP server that answers as a script says, however wrong, and the documents it sends."""

import gzip
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
from anyio.abc import SocketStream
from pydantic import SecretStr

from poller.comms.credentials import Credentials

Script = Callable[[SocketStream], Awaitable[None]]

OPERATION_ID = "comms_operation_01h9krwprkeee8fzqspvwy6nq8"
MESSAGE_ID = "comms_message_01h9krwprkeee8fzqspvwy6nq8"
CREDENTIALS = Credentials(username="AC123", password=SecretStr("open-sesame-42"))
NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


class Clock:
    """A wall clock that is set by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Move on, or back."""
        self.now += timedelta(seconds=seconds)


def brief(value: object) -> str:
    """Return a short id for a parameter, the same in every run."""
    return ascii(value)[:32]


def operation(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON, right or wrong
    """Return the document of an operation, as the vendor's reference shows it, with changes."""
    document: dict[str, Any] = {
        "id": OPERATION_ID,
        "status": "PROCESSING",
        "stats": {"total": 2, "recipients": 2, "queued": 1, "delivered": 1},
        "createdAt": "2024-04-05T06:20:00Z",
        "updatedAt": "2024-04-05T06:21:00Z",
    }
    return document | changes


def envelope(code: int = 20404, message: str = "The resource was not found") -> dict[str, Any]:
    """Return the vendor's error envelope with one error."""
    return {"errors": [{"code": code, "message": message, "infoUrl": "https://example.com/1"}]}


def http_answer(
    body: bytes | dict[str, Any], *, status: int = 200, headers: dict[str, str] | None = None
) -> bytes:
    """Return the bytes of a whole HTTP answer."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"Content-Length": str(len(content)), "Content-Type": "application/json"}
    lines = [f"{name}: {value}" for name, value in (fields | (headers or {})).items()]
    return "\r\n".join((f"HTTP/1.1 {status} Whatever", *lines, "", "")).encode() + content


def gzipped(body: bytes) -> bytes:
    """Return the bytes of a whole HTTP answer whose body is compressed."""
    return http_answer(gzip.compress(body), headers={"Content-Encoding": "gzip"})


class Api:
    """A server at `url` that runs the next script on the connection of each request.

    The last script answers every further request. `requests` holds the head of each.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[str] = []
        self.connections = 0
        self.scripts: list[Script] = []
        self.hung_up = anyio.Event()

    def will(self, *scripts: Script | bytes) -> None:
        """Answer with these scripts, or these bytes, in order."""
        self.scripts.extend(
            _sends(script) if isinstance(script, bytes) else script for script in scripts
        )

    async def serve(self, stream: SocketStream) -> None:
        """Serve one connection until the client hangs up, or the script does."""
        self.connections += 1
        async with stream:
            try:
                while True:
                    head = b""
                    while not head.endswith(b"\r\n\r\n"):
                        head += await stream.receive()
                    self.requests.append(head.decode())
                    script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
                    await script(stream)
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                self.hung_up.set()


def _sends(answer: bytes) -> Script:
    async def script(stream: SocketStream) -> None:
        await stream.send(answer)

    return script
