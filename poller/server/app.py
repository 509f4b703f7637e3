"""The applications: the whole control API, the health routes alone, and dead letters alone."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from poller.log import get_logger
from poller.server import deliveries, groups, health, openapi, operations, page, stream
from poller.server.bodies import BodyLimits
from poller.server.control import ClientLimits, Control, SinkControl
from poller.server.health import Readiness
from poller.server.problems import (
    METHOD,
    UNKNOWN_PATH,
    UNREADABLE,
    Problem,
    ProblemKind,
    invalid_request,
    problem_of,
)
from poller.store.errors import StoreError

log = get_logger()

_Handler = Callable[[Request, Exception], Awaitable[Response]]
_Problems = Mapping[type[Exception], Callable[[Request, Any], Problem]]


def control_app(
    control: Control, readiness: Readiness, *, wants_token: Callable[[], bool]
) -> ASGIApp:
    """Make the whole control API; `wants_token` returns whether it requires a token now."""
    app = FastAPI(
        title=openapi.TITLE,
        version=control.version,
        description=openapi.DESCRIPTION,
        openapi_tags=openapi.TAGS,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    routers = [
        operations.router,
        groups.router,
        stream.router,
        deliveries.router,
        *_health(control),
    ]
    openapi.describe(app, _routes(routers), wants_token=wants_token)
    return _of_daemon(app, [*routers, page.router], control, readiness)


def health_app(control: Control, readiness: Readiness) -> ASGIApp:
    """Make the health routes alone."""
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    return _of_daemon(app, _health(control), control, readiness)


def dead_letter_app(control: SinkControl) -> ASGIApp:
    """Make the routes of sinks and dead letters alone, for a command without a daemon.

    It requires no token, and a `StoreError` is raised to the caller.
    """
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    app.state.sinks = control
    _complete(app, [deliveries.router], ClientLimits(), {})
    return app


def _health(control: Control) -> list[APIRouter]:
    if control.metrics is None:
        return [health.router]
    return [health.router, health.metrics_router(control.metrics)]


def _routes(routers: Sequence[APIRouter]) -> list[APIRoute]:
    return [route for router in routers for route in router.routes if isinstance(route, APIRoute)]


def _of_daemon(
    app: FastAPI, routers: Sequence[APIRouter], control: Control, readiness: Readiness
) -> ASGIApp:
    """Complete the application of a running daemon, which answers every exception."""
    app.state.control = control
    app.state.readiness = readiness
    app.state.sinks = SinkControl(
        store=control.store,
        replayer=control.daemon,
        closed_sinks=lambda: control.daemon.closed_sinks,
    )
    failures: _Problems = {
        StoreError: lambda _, error: problem_of(error),
        ClientDisconnect: lambda *_: Problem(UNREADABLE, "the client disconnected"),
        Exception: lambda _, error: problem_of(error),
    }
    _complete(app, routers, control.limits, failures)
    return _LogDefects(app)


def _complete(
    app: FastAPI, routers: Sequence[APIRouter], limits: ClientLimits, failures: _Problems
) -> None:
    """Add the routes, the limits of bodies, and the problems of refused requests."""
    app.add_middleware(BodyLimits, limits=limits)
    app.add_middleware(_AnswerHead)
    # shared, not included: an included router would be built again for every application
    app.router.routes.extend(route for router in routers for route in router.routes)
    problems: _Problems = {
        Problem: lambda _, problem: problem,
        RequestValidationError: lambda _, error: invalid_request(error),
        HTTPException: partial(_refused, [*app.routes, *_routes(routers)]),
        **failures,
    }
    for kind, make in problems.items():
        app.add_exception_handler(kind, _handler(make))


class _AnswerHead:
    """Answers HEAD with the status and the headers of GET, also for an event stream, which ends."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body"})

        if scope["type"] == "http" and scope["method"] == "HEAD":
            await self._app({**scope, "method": "GET"}, receive, send_head)
        else:
            await self._app(scope, receive, send)


class _LogDefects:
    """Logs unexpected exceptions.

    The client has got its answer; if the answer had begun, the connection is closed.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except Exception:
            log.exception("server.defect", method=scope["method"], path=scope["path"])


def _handler(make: Callable[[Request, Any], Problem]) -> _Handler:
    async def handle(request: Request, error: Exception) -> Response:
        return make(request, error).response

    return handle


def _refused(routes: Sequence[BaseRoute], request: Request, error: HTTPException) -> Problem:
    """Make the problem for a request that the framework refused: an unknown path or method."""
    if error.status_code == METHOD.status:
        # the framework names only the methods of the first route at a path
        matching = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
        methods = {one for route in matching for one in getattr(route, "methods", None) or ()}
        if "GET" in methods:
            methods.add("HEAD")
        allowed = ", ".join(sorted(methods))
        return Problem(METHOD, f"this path has {allowed}", headers={"Allow": allowed})
    if error.status_code == UNKNOWN_PATH.status:
        return Problem(
            UNKNOWN_PATH,
            f"there is nothing at {request.scope['path'][:200]}",
            hint="GET /openapi.json describes all routes",
        )
    other = ProblemKind(name="http", status=error.status_code, title="The request is refused")
    return Problem(other, str(error.detail))
