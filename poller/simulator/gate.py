"""An ASGI middleware before the API: statistics, credentials, the concurrency limit, faults.

Requests to the simulator's own routes bypass it.
"""

import base64
import binascii
import json
import math
import random
import re
import secrets
import socket
import struct
import time
from asyncio import Transport
from collections import Counter, deque
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final

import anyio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from poller.simulator.answers import SimulatedProblem, envelope
from poller.simulator.config import OAUTH_PATH, Faults, SimulatorConfig
from poller.simulator.kinds import KINDS


class SimulatedFault(StrEnum):
    """A simulated fault of one request."""

    TOO_MANY = "429"
    INTERNAL = "500"
    UNAVAILABLE = "503"
    SLOW = "slow"
    HTML = "html"
    """A gateway's error page instead of an answer; the request was not processed."""
    EMPTY = "empty"
    """The answer without its body, and a 202 without its operation headers."""
    TRUNCATED = "truncated"
    """Half of the body, with a matching Content-Length."""
    RESET = "reset"
    """The request was processed, but the connection is reset before the answer."""


BROKEN = (SimulatedFault.HTML, SimulatedFault.EMPTY, SimulatedFault.TRUNCATED, SimulatedFault.RESET)


class FaultSource:
    """Draws faults; the same seed draws the same sequence of numbers, independent of the rates."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(f"{seed}:faults")  # noqa: S311 - has to repeat, not to be secret

    def draw(self, faults: Faults) -> SimulatedFault | None:
        """Return the fault of the next request, None for no fault."""
        drawn, broken = self._chance.random(), self._chance.choice(BROKEN)
        stack = (
            (faults.rate_429, SimulatedFault.TOO_MANY),
            (faults.rate_500, SimulatedFault.INTERNAL),
            (faults.rate_503, SimulatedFault.UNAVAILABLE),
            (faults.rate_slow, SimulatedFault.SLOW),
            (faults.rate_broken, broken),
        )
        for rate, fault in stack:
            if drawn < rate:
                return fault
            drawn -= rate
        return None


_OPERATION_HEADERS: Final = frozenset((b"operationid", b"operation-id", b"operation-location"))


class Reply:
    """Sends the answer to the client, and remembers how the request ended.

    Like the vendor's, every answer has a header with the account's number of requests in flight.
    """

    def __init__(self, send: Send, in_flight: str) -> None:
        self.name = "aborted"
        self._send = send
        self._in_flight = in_flight.encode()

    async def send(self, message: Message) -> None:
        """Pass on one part of an answer."""
        if message["type"] == "http.response.start":
            self.name = str(message["status"])
            extra = (b"twilio-concurrent-requests", self._in_flight)
            message = {**message, "headers": [*message.get("headers", ()), extra]}
        await self._send(message)

    async def refuse(self, status: int, message: str, headers: dict[str, str]) -> None:
        """Answer with the error envelope."""
        body = json.dumps(envelope(status, SimulatedProblem(message))).encode()
        await self.answer(status, body, {"content-type": "application/json", **headers})

    async def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        """Answer."""
        sized = {**headers, "content-length": str(len(body))}
        raw = [(name.encode(), value.encode()) for name, value in sized.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": raw})
        await self.send({"type": "http.response.body", "body": body})


class Discarded:
    """Receives an answer and discards it."""

    async def send(self, message: Message) -> None:
        """Take one part."""


class Broken:
    """Collects a whole answer, then sends it without its body, or with half of it."""

    def __init__(self, fault: SimulatedFault, reply: Reply) -> None:
        self._fault = fault
        self._reply = reply
        self._start: dict[str, Any] = {}
        self._body = b""

    async def send(self, message: Message) -> None:
        """Take one part."""
        if message["type"] == "http.response.start":
            self._start = dict(message)
            return
        self._body += message.get("body", b"")
        if not message.get("more_body", False):
            await self._finish()

    async def _finish(self) -> None:
        empty = self._fault is SimulatedFault.EMPTY
        body = b"" if empty else self._body[: len(self._body) // 2]
        dropped = {b"content-length"} | (_OPERATION_HEADERS if empty else set())
        headers = [pair for pair in self._start["headers"] if pair[0].lower() not in dropped]
        headers.append((b"content-length", str(len(body)).encode()))
        await self._reply.send({**self._start, "headers": headers})
        self._reply.name = f"{self._start['status']} {self._fault.value}"
        await self._reply.send({"type": "http.response.body", "body": body})


async def reset(scope: Scope, receive: Receive) -> None:
    """Reset the connection, and wait until the server has noticed.

    :raises ConnectionResetError: where the server does not give access to the connection.
    """
    transport: Transport | None = scope.get("state", {}).get("transport")
    if transport is None:
        raise ConnectionResetError("simulated")
    connection = transport.get_extra_info("socket")
    # Closing with a linger time of 0 sends RST instead of FIN.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass


_ID: Final = re.compile(r"(?<=/)comms_[^/]*")
_KNOWN: Final = frozenset(
    f"/v1/{kind.path}{rest}"
    for kind in KINDS.values()
    for rest in ("", "/{id}", "/{id}/Receipts", "/Operations", "/Operations/{id}")
) | {f"/v1/{kind.path}/Operations/{{id}}/Errors" for kind in KINDS.values()}


def route_of(method: str, path: str) -> str:
    """Return the route of a request, with `{id}` for any id; `unknown` for all unknown ones."""
    template = _ID.sub("{id}", path)
    return f"{method} {template}" if template in _KNOWN else "unknown"


class Stats:
    """Statistics since the start or the last `reset`; times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.reset()

    def reset(self) -> None:
        """Reset all counters except the requests in flight."""
        self._total = 0
        self._peak_concurrency = self.in_flight
        self._peak_rate = 0
        self._begun: deque[float] = deque()
        self._outcomes: dict[str, Counter[str]] = {}

    def begin(self, at: float) -> None:
        """Count a request that has arrived."""
        self._total += 1
        self.in_flight += 1
        self._peak_concurrency = max(self._peak_concurrency, self.in_flight)
        self._begun.append(at)
        self._slide(at)
        self._peak_rate = max(self._peak_rate, len(self._begun))

    def end(self, route: str, outcome: str) -> None:
        """Count how a request ended: a status, or the name of a fault without one."""
        self.in_flight -= 1
        self._outcomes.setdefault(route, Counter())[outcome] += 1

    def document(self, at: float) -> dict[str, Any]:
        """Return all counters; rates are requests in the last second and in the busiest one."""
        self._slide(at)
        return {
            "requests": {
                route: dict(sorted(outcomes.items()))
                for route, outcomes in sorted(self._outcomes.items())
            },
            "total": self._total,
            "in_flight": self.in_flight,
            "peak_concurrency": self._peak_concurrency,
            "last_second": len(self._begun),
            "peak_rate": self._peak_rate,
        }

    def _slide(self, at: float) -> None:
        while self._begun and self._begun[0] <= at - 1:
            self._begun.popleft()


CONTROL_PREFIX: Final = "/_simulator/"
_HTML: Final = b"<html><head><title>502 Bad Gateway</title></head><body>Bad Gateway</body></html>"


class Controls:
    """The state that can be read and changed while the simulator runs."""

    def __init__(self, config: SimulatorConfig) -> None:
        self.config = config
        self.faults: Faults = config.faults()
        self.stats = Stats()
        self.tokens = Tokens(config.token_seconds)


class Tokens:
    """The valid OAuth tokens. Times are seconds of a monotonic clock."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._ends: dict[str, float] = {}

    def give(self, at: float) -> str:
        """Return a new token."""
        token = secrets.token_urlsafe(24)
        self._ends = {each: ends for each, ends in self._ends.items() if ends > at}
        self._ends[token] = at + self.seconds
        return token

    def accepts(self, token: str, at: float) -> bool:
        """Return whether a token is valid."""
        return self._ends.get(token, at) > at

    def revoke(self) -> None:
        """Revoke all tokens."""
        self._ends.clear()


class SimulatedGate:
    """Passes a request on to the API, or answers in its place."""

    def __init__(
        self, app: ASGIApp, *, controls: Controls, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._app = app
        self._controls = controls
        self._source = FaultSource(controls.config.seed)
        self._monotonic = monotonic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"].startswith((CONTROL_PREFIX, OAUTH_PATH)):
            await self._app(scope, receive, send)
            return
        stats = self._controls.stats
        stats.begin(self._monotonic())
        reply = Reply(send, str(stats.in_flight))
        try:
            await self._serve(scope, receive, reply)
        finally:
            stats.end(route_of(scope["method"], scope["path"]), reply.name)

    async def _serve(self, scope: Scope, receive: Receive, reply: Reply) -> None:
        faults = self._controls.faults
        if not self._authorized(Headers(scope=scope).get("authorization", "")):
            headers = {"www-authenticate": 'Basic realm="simulated Communications API"'}
            await reply.refuse(401, "Authentication failed: wrong credentials.", headers)
        elif self._controls.stats.in_flight > faults.max_concurrency:
            await self._refuse_more(reply)
        else:
            fault = self._source.draw(faults)
            if fault is SimulatedFault.SLOW:
                await anyio.sleep(faults.slow_seconds)
            await self._answer_with(fault, scope, receive, reply)

    async def _answer_with(
        self, fault: SimulatedFault | None, scope: Scope, receive: Receive, reply: Reply
    ) -> None:
        """Answer according to the fault, or pass the request on."""
        match fault:
            case None | SimulatedFault.SLOW:
                await self._app(scope, receive, reply.send)
            case SimulatedFault.TOO_MANY:
                await self._refuse_more(reply)
            case SimulatedFault.INTERNAL:
                await reply.refuse(500, "An internal error occurred.", {})
            case SimulatedFault.UNAVAILABLE:
                await reply.refuse(503, "The service is unavailable.", self._retry_after())
            case SimulatedFault.HTML:
                await reply.answer(502, _HTML, {"content-type": "text/html; charset=utf-8"})
            case SimulatedFault.RESET:
                await self._app(scope, receive, Discarded().send)
                reply.name = fault.value
                await reset(scope, receive)
            case _:
                await self._app(scope, receive, Broken(fault, reply).send)

    async def _refuse_more(self, reply: Reply) -> None:
        message = "Too many requests. Lower your concurrency and retry after the time given."
        await reply.refuse(429, message, self._retry_after())

    def _retry_after(self) -> dict[str, str]:
        return {"retry-after": str(math.ceil(self._controls.faults.retry_after))}

    def _authorized(self, authorization: str) -> bool:
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() == "bearer":
            return self._controls.tokens.accepts(encoded.strip(), self._monotonic())
        if scheme.lower() != "basic":
            return False
        try:
            username, _, password = base64.b64decode(encoded).decode().partition(":")
        except (ValueError, binascii.Error):
            return False
        return self._controls.config.accepts(username, password)
