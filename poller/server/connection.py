"""An HTTP/1.1 connection with time limits, and problem details for malformed requests.

Uvicorn has no time limit for a request that arrives slowly, and answers malformed requests in plain
text. Both are changed here; the rest is uvicorn's.
"""

import asyncio
import logging
from typing import Any, Final

import h11
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from poller.server.control import ClientLimits
from poller.server.problems import (
    CROWDED,
    PROBLEM_JSON,
    UNREADABLE,
    Problem,
)

# uvicorn's own log is off: the application logs its defects itself
_SILENT: Final = logging.getLogger("poller.server.silent")
_SILENT.setLevel(logging.CRITICAL + 1)

_CLOSING_SECONDS: Final = 5.0


class Connection(H11Protocol):
    """A connection; `connection_of` finds it in the scope of a request."""

    limits = ClientLimits()

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.logger = _SILENT
        self.access_log = False
        self._deadline: asyncio.TimerHandle | None = None

    @classmethod
    def within(cls, limits: ClientLimits) -> type["Connection"]:
        """Return a subclass with these limits: uvicorn creates connections from a class."""
        return type("Connection", (cls,), {"limits": limits})

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time limit of the first request."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "connection": self}
        if len(self.connections) > self.limits.connections:
            self.app = _crowded
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Read data, and limit the time until the request is complete."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the time limit."""
        super().connection_lost(exc)
        self._unwatch()

    def on_response_complete(self) -> None:
        """Continue with what the client sent during the answer."""
        super().on_response_complete()
        self._watch()

    def send_400_response(self, msg: str) -> None:
        """Answer a malformed request, or one whose head is too long."""
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.transport.close()
            return
        answer = Problem(UNREADABLE, msg).response
        headers = [
            ("content-type", PROBLEM_JSON),
            ("content-length", str(len(answer.body))),
            ("connection", "close"),
        ]
        response = h11.Response(status_code=400, headers=headers, reason="Bad Request")
        for event in (response, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def close_soon(self) -> None:
        """Allow one more message although the client reads nothing, then close."""
        self.flow.resume_writing()
        self.loop.call_later(_CLOSING_SECONDS, self.transport.abort)

    def _watch(self) -> None:
        waits = self._waits_for_more()
        if waits and self._deadline is None:
            self._deadline = self.loop.call_later(self.limits.head_seconds, self._too_slow)
        elif not waits:
            self._unwatch()

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _waits_for_more(self) -> bool:
        if self.transport.is_closing():
            return False
        if self.conn.their_state is h11.SEND_BODY:
            return True
        # between requests uvicorn's own keep-alive timeout runs, until a byte arrives
        is_first = self._exchange is None
        return self.conn.their_state is h11.IDLE and (is_first or bool(self.conn.trailing_data[0]))

    @property
    def _exchange(self) -> RequestResponseCycle | None:
        return self.cycle  # uvicorn declares it as never None, and sets it to None at first

    def _too_slow(self) -> None:
        self._deadline = None
        if self._exchange is None or self._exchange.response_complete:
            self.transport.close()
        else:
            self.transport.abort()


def connection_of(scope: Scope) -> Connection | None:
    """Return the connection of a request; None if another server runs the application."""
    found = scope.get("state", {}).get("connection")
    return found if isinstance(found, Connection) else None


async def _crowded(scope: Scope, receive: Receive, send: Send) -> None:
    problem = Problem(
        CROWDED,
        "there are too many connections",
        hint="close idle ones, and try again",
        headers={"Connection": "close", "Retry-After": "1"},
    )
    await problem.response(scope, receive, send)
