"""The simulator's application, served in a task group: without signal handlers, without logs."""

import asyncio
import logging
import socket
from typing import Any, Final

import anyio
import uvicorn
from anyio.abc import TaskStatus
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from poller.simulator.answers import ApiError, SimulatedProblem, answer
from poller.simulator.api import KindApi
from poller.simulator.config import SimulatorConfig
from poller.simulator.control import ControlApi
from poller.simulator.gate import Controls, SimulatedGate
from poller.simulator.world import Clock, World, utc_now


def create_app(
    config: SimulatorConfig, *, clock: Clock = utc_now, world: World | None = None
) -> Starlette:
    """Make the ASGI application of a simulator.

    A given `world`, such as one with sample operations, has its own clock.
    """
    world = world or World(config, clock=clock)
    controls = Controls(config)
    routes = [route for kind in world.kinds.values() for route in KindApi(kind, world).routes()]
    app = Starlette(
        routes=[*routes, *ControlApi(controls, world).routes()],
        middleware=[Middleware(SimulatedGate, controls=controls)],
        exception_handlers={ApiError: _refuse, HTTPException: _refuse_unrouted},
    )
    # No redirects to the path with or without a slash at its end, as with the vendor.
    app.router.redirect_slashes = False
    return app


async def _refuse(_request: Request, error: Exception) -> Response:
    if not isinstance(error, ApiError):
        raise error
    return answer(error.document(), status=error.status, headers=error.headers)


async def _refuse_unrouted(_request: Request, error: Exception) -> Response:
    """Answer an unknown path (404) or method (405) with the envelope as well."""
    if not isinstance(error, HTTPException):
        raise error
    refusal = ApiError(error.status_code, SimulatedProblem(f"{error.detail}."))
    return answer(refusal.document(), status=error.status_code, headers=dict(error.headers or {}))


# Uvicorn's own loggers may belong to another server in this process, and here they would only log
# simulated faults.
_SILENT: Final = logging.getLogger("poller.simulator.silent")
_SILENT.setLevel(logging.CRITICAL + 1)


class _Protocol(H11Protocol):
    """HTTP/1.1 that logs nothing and lets the application reach its connection."""

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

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give the application access to the connection, through the state in its scope."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


async def serve(
    config: SimulatorConfig,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    world: World | None = None,
    hints: str = "",
    task_status: TaskStatus[str] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; `task_group.start(serve, config)` returns the base URL.

    Port 0 takes a free one. Operations may be added to a given `world` before and while it is
    served. Events are pushed to the URL `hints`, as the vendor's Event Streams do; empty for none.
    When cancelled, it drops every connection at once.

    :raises OSError: if the address cannot be bound.
    """
    listener = await _bind(host, port)
    world = world or World(config)
    settings = uvicorn.Config(
        create_app(config, world=world),
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        server_header=False,
        proxy_headers=False,
        backlog=2048,
    )
    settings.load()
    # The steps of `Server.serve`, without its signal handlers and log lines.
    server = uvicorn.Server(settings)
    server.lifespan = settings.lifespan_class(settings)
    try:
        await server.startup(sockets=[listener])
        task_status.started(_base_url(listener))
        async with anyio.create_task_group() as tasks:
            if hints:
                # imported only when needed: importing an HTTP client takes a tenth of a second
                from poller.simulator.pusher import Pusher  # noqa: PLC0415

                tasks.start_soon(Pusher(world, hints).run)
            await server.main_loop()
            tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await _stop(server, listener)


async def _bind(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = (
        await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setblocking(False)  # noqa: FBT003 - the standard library's signature
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def _base_url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if listener.family is socket.AF_INET6 else host
    return f"http://{shown}:{port}/v1"


async def _stop(server: uvicorn.Server, listener: socket.socket) -> None:
    """Stop listening, drop every connection, and wait until all are closed."""
    for each in getattr(server, "servers", ()):
        each.close()
    listener.close()
    state = server.server_state
    for connection in list(state.connections):
        if isinstance(connection, _Protocol):
            connection.transport.abort()
    while state.connections:
        await anyio.lowlevel.checkpoint()
    # Only now: without connections, canceled tasks cannot send error answers.
    for task in (tasks := list(state.tasks)):
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
