"""Serves the control API on its sockets, in a task group, without signal handlers."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from email.utils import formatdate
from functools import partial
from typing import Final, Never

import anyio
import uvicorn
from anyio.abc import TaskStatus
from anyio.to_thread import run_sync
from pydantic import SecretStr
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from poller.addresses import ListenAddress, TcpAddress
from poller.engine.daemon import Daemon
from poller.engine.meter import NO_METER, Meter
from poller.log import get_logger
from poller.server.app import control_app, health_app
from poller.server.auth import AuthMiddleware
from poller.server.connection import Connection
from poller.server.control import ClientLimits, Control, Metrics
from poller.server.health import Readiness
from poller.server.hints import HINT_LIMITS, HintAccess, HintsApp
from poller.server.listening import Listening, taken, url_of
from poller.store.store import Store

log = get_logger()

_MOST_HEAD_BYTES: Final = 32 * 1024
_TICK_SECONDS: Final = 1.0
_CHECK_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """The addresses of the listeners, in the form for clients: `http://…` or `unix:/…`, or None.

    `use_access` sets the token and the public URL from the next request on. A changed token ends
    the event streams that were opened with the old one. `use_hint_access` sets how the vendor's
    pushes are checked.
    """

    address: str | None
    observe: str | None
    hints: str | None
    use_access: Callable[[SecretStr | None, str], None]
    use_hint_access: Callable[[HintAccess], None]


NOWHERE: Final = Bound(
    address=None,
    observe=None,
    hints=None,
    use_access=lambda *_: None,
    use_hint_access=lambda _: None,
)
"""Without any listener."""


class _Listener:
    """One application on one socket."""

    def __init__(self, app: ASGIApp, listener: socket.socket, limits: ClientLimits) -> None:
        self._socket = listener
        self._state = ServerState()
        self._connections = Connection.within(limits)
        self._config = uvicorn.Config(
            app,
            http=self._connections,
            ws="none",
            lifespan="off",
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=int(limits.keep_alive_seconds),
            h11_max_incomplete_event_size=_MOST_HEAD_BYTES,
        )
        self._config.load()
        self.url = url_of(listener)

    async def start(self) -> None:
        """Accept connections."""
        self.tick()
        loop = asyncio.get_running_loop()
        make = partial(self._connections, self._config, self._state, {})
        if self._socket.family is socket.AF_UNIX:
            self._server = await loop.create_unix_server(make, sock=self._socket)
        else:
            self._server = await loop.create_server(make, sock=self._socket)

    def tick(self) -> None:
        """Set the Date header of answers."""
        self._state.default_headers = [(b"date", formatdate(usegmt=True).encode())]

    async def stop(self, seconds: float) -> None:
        """Wait up to `seconds` for running requests to end, then abort them."""
        self._server.close()
        connections = self._state.connections
        for connection in list(connections):
            connection.shutdown()
        with anyio.move_on_after(seconds):
            # uvicorn sends no signal when a connection ends
            while connections or self._state.tasks:  # noqa: ASYNC110 - see above
                await anyio.sleep(_CHECK_SECONDS)
        for connection in list(connections):
            connection.transport.abort()
        for task in (tasks := list(self._state.tasks)):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def serve(
    daemon: Daemon,
    store: Store,
    listening: Listening,
    *,
    version: str,
    metrics: Metrics | None = None,
    limits: ClientLimits | None = None,
    hint_access: HintAccess | None = None,
    meter: Meter = NO_METER,
    task_status: TaskStatus[Bound] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; `await task_group.start(serve, …)` returns the addresses.

    `hint_access` says how pushes of the vendor are checked; with None all count as forged.

    When cancelled, it ends the event streams after the events recorded so far, gives other requests
    a moment to end, and returns.

    :raises ListenError: where it cannot listen at an address.
    """
    limits = limits or ClientLimits()
    control = Control(
        daemon=daemon,
        store=store,
        version=version,
        metrics=metrics,
        limits=limits,
        stopping=anyio.Event(),
        free_streams=anyio.Semaphore(limits.streams),
    )
    readiness = Readiness(control)
    guard, health = _guarded(control, readiness, listening), health_app(control, readiness)
    pushes = HintsApp(daemon.hints, hint_access or HintAccess(), meter=meter)
    hints = pushes.limited(HINT_LIMITS)

    def use_access(token: SecretStr | None, public_url: str) -> None:
        if guard.use(token, public_url):
            control.end_streams()

    places = (
        _Place(app=guard, address=listening.address, setting="server.listen", limits=limits),
        _Place(app=health, address=listening.observe, setting="server.observe", limits=limits),
        _Place(app=hints, address=listening.hints, setting="server.hints", limits=HINT_LIMITS),
    )
    async with AsyncExitStack() as stack:
        listeners = [await _listener(stack, listening, place) for place in places]
        urls = [None if one is None else one.url for one in listeners]
        bound = Bound(
            address=urls[0],
            observe=urls[1],
            hints=urls[2],
            use_access=use_access,
            use_hint_access=pushes.use,
        )
        running = [one for one in listeners if one is not None]
        tasks = await stack.enter_async_context(anyio.create_task_group())
        if bound.hints is not None:
            tasks.start_soon(daemon.hints.run)
        await _run(running, bound, task_status, control)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """An application and its address, None for none; `setting` names where that is set."""

    app: ASGIApp
    address: ListenAddress | None
    setting: str
    limits: ClientLimits


async def _listener(stack: AsyncExitStack, listening: Listening, place: _Place) -> _Listener | None:
    if place.address is None:
        return None
    listener = await _open(stack, listening, place.address, place.setting)
    return _Listener(place.app, listener, place.limits)


async def _stop(listeners: Sequence[_Listener], control: Control) -> None:
    control.stopping.set()
    control.daemon.signals.events.notify()
    for listener in listeners:
        await listener.stop(control.limits.stop_seconds)


async def _run(
    listeners: Sequence[_Listener],
    bound: Bound,
    task_status: TaskStatus[Bound],
    control: Control,
) -> Never:
    try:
        await _accept(listeners, bound, task_status)
    finally:
        with anyio.CancelScope(shield=True):
            await _stop(listeners, control)


async def _accept(
    listeners: Sequence[_Listener], bound: Bound, task_status: TaskStatus[Bound]
) -> Never:
    for listener in listeners:
        await listener.start()
    log.info("server.listening", address=bound.address, observe=bound.observe, hints=bound.hints)
    task_status.started(bound)
    while True:
        await anyio.sleep(_TICK_SECONDS)
        for listener in listeners:
            listener.tick()


async def _open(
    stack: AsyncExitStack, listening: Listening, place: ListenAddress, setting: str
) -> socket.socket:
    # the health routes need no token, and pushes have credentials of their own
    guarded = setting != "server.listen" or listening.token is not None
    place_taken = taken(place, setting=setting, mode=listening.socket_mode, guarded=guarded)
    # in a thread: it resolves names, and connects to a socket that may be stale
    listener = await run_sync(place_taken.__enter__)

    async def leave() -> None:
        with anyio.CancelScope(shield=True):
            await run_sync(place_taken.__exit__, None, None, None)

    stack.push_async_callback(leave)
    return listener


def _guarded(control: Control, readiness: Readiness, listening: Listening) -> AuthMiddleware:
    guard: AuthMiddleware

    app = control_app(control, readiness, wants_token=lambda: guard.wants_token)
    guard = AuthMiddleware(
        app,
        token=listening.token,
        public_url=listening.public_url,
        checks_host=isinstance(listening.address, TcpAddress),
    )
    return guard
