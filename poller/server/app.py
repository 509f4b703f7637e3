"""The application: the routes, and what stands around them."""

import re
from collections.abc import Awaitable, Callable, Sequence
from copy import deepcopy
from functools import partial
from typing import Any, Final

import structlog
from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from poller.server.auth import OPEN_PATHS
from poller.server.control import Control
from poller.server.documents import ProblemDocument
from poller.server.events import event_routes
from poller.server.examples import EXAMPLES
from poller.server.health import health_routes
from poller.server.invalid import invalid_request
from poller.server.operations import operation_routes
from poller.server.probes import Probes
from poller.server.problems import (
    METHOD,
    UNKNOWN_PATH,
    UNREADABLE,
    Kind,
    Problem,
    problem_of,
    problem_response,
)
from poller.server.sinks import sink_routes
from poller.store.errors import StoreError

__all__ = ["control_app", "health_app"]

log = structlog.get_logger()

_TITLE: Final = "comms-poller"
_DESCRIPTION: Final = (
    "Register operations and messages of the Communications API, read how they and their events "
    "are, and follow every event as it is recorded. Errors are problem details (RFC 9457)."
)
_TAGS: Final = [
    {"name": "operations", "description": "What is watched: operations, and single messages."},
    {"name": "events", "description": "What was told."},
    {"name": "sinks", "description": "Where it goes, and what did not arrive."},
    {"name": "health", "description": "For probes; never asks for the token."},
]
_BEARER: Final = {"type": "http", "scheme": "bearer", "description": "`server.token`"}

Handler = Callable[[Request, Exception], Awaitable[Response]]


def control_app(control: Control, probes: Probes, *, wants_token: Callable[[], bool]) -> ASGIApp:
    """Make the whole control API; `wants_token` says whether the token is asked for now."""
    app = FastAPI(
        title=_TITLE,
        version=control.version,
        description=_DESCRIPTION,
        openapi_tags=_TAGS,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    _describe(app, wants_token=wants_token)
    routers = [make(control) for make in (operation_routes, event_routes, sink_routes)]
    return _sheltered(app, [*routers, health_routes(probes)])


def health_app(probes: Probes) -> ASGIApp:
    """Make the health routes alone."""
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    return _sheltered(app, [health_routes(probes)])


def _sheltered(app: FastAPI, routers: Sequence[APIRouter]) -> ASGIApp:
    """Answer every exception with its problem; log what is a defect of ours."""
    for router in routers:
        app.include_router(router)
    routes = [*app.routes, *(route for router in routers for route in router.routes)]
    handlers: dict[type[Exception], Callable[[Request, Any], Problem]] = {
        Problem: lambda _, problem: problem,
        StoreError: lambda _, error: problem_of(error),
        RequestValidationError: lambda _, error: invalid_request(error),
        HTTPException: partial(_refused, routes),
        ClientDisconnect: lambda _, __: Problem(UNREADABLE, "the client left"),
        Exception: lambda _, error: problem_of(error),
    }
    for kind, make in handlers.items():
        app.add_exception_handler(kind, _handler(make))

    async def shelter(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except Exception:
            # it has been answered; where the answer had begun, the connection is cut
            log.exception("server.defect", method=scope["method"], path=scope["path"])

    return shelter


def _handler(make: Callable[[Request, Any], Problem]) -> Handler:
    async def handle(request: Request, error: Exception) -> Response:
        return problem_response(make(request, error))

    return handle


def _refused(routes: Sequence[BaseRoute], request: Request, error: HTTPException) -> Problem:
    if error.status_code == METHOD.status:
        allowed = ", ".join(sorted(_methods(routes, request)))
        return Problem(METHOD, f"there are {allowed} at this path", headers={"Allow": allowed})
    if error.status_code == UNKNOWN_PATH.status:
        return Problem(
            UNKNOWN_PATH,
            f"{request.scope['path'][:200]} leads nowhere",
            hint="GET /openapi.json describes what there is",
        )
    other = Kind(name="http", status=error.status_code, title="The request is refused")
    return Problem(other, str(error.detail))


def _methods(routes: Sequence[BaseRoute], request: Request) -> set[str]:
    """Collect the methods of all routes at a path: the framework tells those of the first."""
    return {
        method
        for route in routes
        if route.matches(request.scope)[0] is not Match.NONE
        for method in getattr(route, "methods", None) or ()
    }


def _describe(app: FastAPI, *, wants_token: Callable[[], bool]) -> None:
    """Add to the description what the framework cannot know."""
    make = app.openapi

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(_renamed(make()))
        return _secured(app.openapi_schema) if wants_token() else app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign] # FastAPI's documented way


def _renamed(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Name each schema after its class, without the suffix `Document`."""
    if isinstance(value, dict):
        return {name.removesuffix("Document"): _renamed(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_renamed(item) for item in value]
    is_name = isinstance(value, str) and re.fullmatch(r"[\w/#]+Document", value)
    return value.removesuffix("Document") if is_name else value


def _complete(document: dict[str, Any]) -> dict[str, Any]:
    components = document["components"]
    problem = TypeAdapter(ProblemDocument).json_schema(ref_template="#/components/schemas/{model}")
    for name, definition in _renamed(problem.pop("$defs", {})).items():
        components["schemas"].setdefault(name, definition)
    components["schemas"].setdefault("Problem", _renamed(problem))
    components["examples"] = {name: {"value": value} for name, value in EXAMPLES.items()}
    return document


def _secured(document: dict[str, Any]) -> dict[str, Any]:
    """Return the description of an API that asks for the token."""
    secured = deepcopy(document)
    secured["components"]["securitySchemes"] = {"bearer": _BEARER}
    secured["security"] = [{"bearer": []}]
    for path in OPEN_PATHS & secured["paths"].keys():
        secured["paths"][path]["get"]["security"] = []
    return secured
