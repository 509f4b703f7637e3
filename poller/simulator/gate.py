"""What stands between a client and the API: counting, credentials, the concurrency limit, faults.

An ASGI middleware. The simulator's own routes pass by it.
"""

import base64
import binascii
import math
import time
from collections.abc import Callable
from typing import Final

import anyio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from poller.simulator.config import Faults, SimulatorConfig
from poller.simulator.faults import FaultSource, SimulatedFault
from poller.simulator.replies import Broken, Discarded, Reply, reset
from poller.simulator.stats import Stats, route_of

__all__ = ["CONTROL_PREFIX", "Controls", "SimulatedGate"]

CONTROL_PREFIX: Final = "/_simulator/"
_HTML: Final = b"<html><head><title>502 Bad Gateway</title></head><body>Bad Gateway</body></html>"


class Controls:
    """What can be read and turned while the simulator runs."""

    def __init__(self, config: SimulatorConfig) -> None:
        self.config = config
        self.faults: Faults = config.faults()
        self.stats = Stats()


class SimulatedGate:
    """Lets a request through to the API, or answers for it."""

    def __init__(
        self, app: ASGIApp, *, controls: Controls, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._app = app
        self._controls = controls
        self._source = FaultSource(controls.config.seed)
        self._monotonic = monotonic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"].startswith(CONTROL_PREFIX):
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
            await self._meet(fault, scope, receive, reply)

    async def _meet(
        self, fault: SimulatedFault | None, scope: Scope, receive: Receive, reply: Reply
    ) -> None:
        """Answer as the fault wants it, or let the request through."""
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
        if scheme.lower() != "basic":
            return False
        try:
            username, _, password = base64.b64decode(encoded).decode().partition(":")
        except (ValueError, binascii.Error):
            return False
        return self._controls.config.accepts(username, password)
