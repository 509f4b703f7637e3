"""The OpenAPI document: what FastAPI cannot see by itself, added in one hook."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from poller.server.auth import OPEN_PATHS
from poller.server.bodies import JsonBody
from poller.server.documents import ProblemDocument
from poller.server.examples import EXAMPLES, EXAMPLES_OF_ROUTES
from poller.server.problems import (
    DEFECT,
    FORBIDDEN,
    PROBLEM_JSON,
    STORE,
    UNAUTHORIZED,
    Problem,
    ProblemKind,
)

TITLE: Final = "comms-poller"
DESCRIPTION: Final = (
    "Register operations and messages of the Communications API, read their state and their "
    "events, and follow every event as it is recorded. Errors are problem details (RFC 9457)."
)
TAGS: Final = [
    {"name": "operations", "description": "Watched operations and single messages."},
    {"name": "groups", "description": "Many operations and messages that are counted as one."},
    {"name": "events", "description": "Emitted events."},
    {"name": "sinks", "description": "Where events go, and those that were not delivered."},
    {"name": "health", "description": "For probes; these routes never require the token."},
]

_BEARER: Final = {"type": "http", "scheme": "bearer", "description": "`server.token`"}
_SUFFIX: Final = "Document"
_REFERENCE: Final = "#/components/schemas/{model}"

Responses = dict[int | str, dict[str, Any]]
_Json = dict[str, Any]


def problems(*kinds: ProblemKind, is_open: bool = False) -> Responses:
    """Describe the problems of a route; an open one requires neither the token nor the store."""
    found: Responses = {}
    always = (FORBIDDEN, DEFECT) if is_open else (FORBIDDEN, DEFECT, UNAUTHORIZED, STORE)
    for kind in sorted({*always, *kinds}, key=lambda kind: (kind.status, kind.name)):
        described = found.setdefault(kind.status, {"description": kind.title})
        if kind.title not in described["description"]:
            described["description"] += f"; or: {kind.title}"
        content = described.setdefault("content", {}).setdefault(
            PROBLEM_JSON, {"schema": {"$ref": _REFERENCE.format(model="Problem")}, "examples": {}}
        )
        example = Problem(kind, "what happened", hint="what to do about it").document
        content["examples"][kind.name] = {"value": example}
    return found


def describe(app: FastAPI, routes: Sequence[APIRoute], *, wants_token: Callable[[], bool]) -> None:
    """Complete the description that `app` serves; `wants_token`: whether a token is required."""
    make = app.openapi

    def complete() -> _Json:
        if app.openapi_schema is None:
            document = _renamed(make())
            _add_components(document["components"])
            for route in routes:
                for method in route.methods or ():
                    described = document["paths"][route.path][method.lower()]
                    _add_body(described, route)
                    _add_examples(described, EXAMPLES_OF_ROUTES.get(f"{method} {route.path}", {}))
            app.openapi_schema = document
        return _secured(app.openapi_schema) if wants_token() else app.openapi_schema

    app.openapi = complete  # type: ignore[method-assign] # FastAPI's documented way


def _renamed(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Name each schema after its class, without the suffix `Document`."""
    if isinstance(value, Mapping):
        return {name.removesuffix(_SUFFIX): _renamed(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_renamed(item) for item in value]
    is_name = isinstance(value, str) and re.fullmatch(rf"[\w/#]+{_SUFFIX}", value)
    return value.removesuffix(_SUFFIX) if is_name else value


def _add_components(components: _Json) -> None:
    problem = TypeAdapter(ProblemDocument).json_schema(ref_template=_REFERENCE)
    schemas = problem.pop("$defs", {}) | {"Problem": problem}
    components["schemas"] = _renamed(schemas) | components["schemas"]
    components["examples"] = {name: {"value": value} for name, value in EXAMPLES.items()}


def _add_body(described: _Json, route: APIRoute) -> None:
    for dependency in route.dependant.dependencies:
        if isinstance(dependency.call, JsonBody):
            described["requestBody"] = {
                "required": dependency.call.is_required,
                "content": {"application/json": {"schema": dependency.call.schema}},
            }


def _add_examples(described: _Json, examples: Mapping[int | str, Iterable[str]]) -> None:
    for place, names in examples.items():
        holder = described["requestBody"] if place == "body" else described["responses"][str(place)]
        holder["content"]["application/json"]["examples"] = {
            # by reference: FastAPI would drop every null of an example in its place
            name: {"$ref": f"#/components/examples/{name}"}
            for name in names
        }


def _secured(document: _Json) -> _Json:
    """Return the description of an API that requires the token."""
    secured = deepcopy(document)
    secured["components"]["securitySchemes"] = {"bearer": _BEARER}
    secured["security"] = [{"bearer": []}]
    for path in OPEN_PATHS & secured["paths"].keys():
        secured["paths"][path]["get"]["security"] = []
    return secured
