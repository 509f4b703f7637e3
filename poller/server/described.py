"""What FastAPI cannot see by itself: bodies that we read, problems that we raise, examples."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from poller.server.problems import (
    DEFECT,
    FORBIDDEN,
    PROBLEM_JSON,
    STORE,
    UNAUTHORIZED,
    Kind,
    Problem,
)

__all__ = ["Responses", "answer", "body", "problems"]

Responses = dict[int | str, dict[str, Any]]

_ALWAYS: Final = (FORBIDDEN, DEFECT)
_GUARDED: Final = (UNAUTHORIZED, STORE)


def body(schema: Mapping[str, Any], *examples: str, required: bool = True) -> dict[str, Any]:
    """Describe a JSON body, with examples by their names in `EXAMPLES`."""
    content = {"schema": schema, "examples": _named(examples)}
    return {"requestBody": {"required": required, "content": {"application/json": content}}}


def answer(status: int, description: str, *examples: str, model: object = None) -> Responses:
    """Describe an answer that is not a problem, with examples by their names in `EXAMPLES`."""
    described: dict[str, Any] = {"description": description}
    if model is not None:
        described["model"] = model
    if examples:
        described["content"] = {"application/json": {"examples": _named(examples)}}
    return {status: described}


def problems(*kinds: Kind, guarded: bool = True) -> Responses:
    """Describe the problems of a route; `guarded` says that it wants the token and the store."""
    found: Responses = {}
    for kind in sorted({*_ALWAYS, *kinds, *(_GUARDED if guarded else ())}, key=_by_status):
        described = found.setdefault(
            kind.status,
            {
                "description": kind.title,
                "content": {
                    PROBLEM_JSON: {
                        "schema": {"$ref": "#/components/schemas/Problem"},
                        "examples": {},
                    }
                },
            },
        )
        if kind.title not in described["description"]:
            described["description"] += f"; or: {kind.title}"
        example = Problem(kind, "what happened", hint="what to do about it").document
        described["content"][PROBLEM_JSON]["examples"][kind.name] = {"value": example}
    return found


def _named(examples: Sequence[str]) -> dict[str, Any]:
    # by reference: FastAPI would drop every null of an example in its place
    return {name: {"$ref": f"#/components/examples/{name}"} for name in examples}


def _by_status(kind: Kind) -> tuple[int, str]:
    return kind.status, kind.name
