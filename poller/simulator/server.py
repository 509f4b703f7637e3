"""The application on a socket, inside somebody else's task group: no signals, no logs, no exit."""

import asyncio
import logging
import socket
from typing import Any, Final

import anyio
import uvicorn
from anyio.abc import TaskStatus
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from poller.simulator.app import create_app
from poller.simulator.config import SimulatorConfig
from poller.simulator.world import World

__all__ = ["serve"]

# Uvicorn's own loggers may belong to another server of this process; what this one would log are
# the faults that it was asked for.
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
        """Hand the connection to the application, in its scope's state."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


async def serve(
    config: SimulatorConfig,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    world: World | None = None,
    task_status: TaskStatus[str] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; `task_group.start(serve, config)` returns the base URL.

    Port 0 takes a free one. A `world` made before serves what was put into it, and may be given
    more while it is served. Cancelling drops every connection at once and raises nothing else.

    :raises OSError: if the address cannot be bound.
    """
    listener = await _bind(host, port)
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
        await server.main_loop()
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
    """Stop listening, drop every connection, and wait until it is gone."""
    for each in getattr(server, "servers", ()):
        each.close()
    listener.close()
    state = server.server_state
    for connection in list(state.connections):
        if isinstance(connection, _Protocol):
            connection.transport.abort()
    while state.connections:
        await anyio.lowlevel.checkpoint()
    # Only now, so that what is canceled has nobody left to apologise to.
    for task in (tasks := list(state.tasks)):
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
