"""Everything that can be wrong, as problem details (RFC 9457)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from poller.server.documents import ProblemDocument
from poller.store.errors import StoreError
from poller.text import dump_json

__all__ = [
    "CONFLICT",
    "CROWDED",
    "DEFECT",
    "FORBIDDEN",
    "GONE",
    "INVALID",
    "METHOD",
    "NOT_JSON",
    "PROBLEM_JSON",
    "SLOW_BODY",
    "STORE",
    "TOO_LARGE",
    "UNAUTHORIZED",
    "UNKNOWN_EVENT",
    "UNKNOWN_OPERATION",
    "UNKNOWN_PATH",
    "UNKNOWN_SINK",
    "UNREADABLE",
    "FieldError",
    "Kind",
    "Problem",
    "problem_of",
    "problem_response",
]

PROBLEM_JSON: Final = "application/problem+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A sort of problem: `name` ends its type URI, for programs; `title` is for people."""

    name: str
    status: int
    title: str


UNREADABLE: Final = Kind(name="unreadable", status=400, title="The request cannot be read")
UNAUTHORIZED: Final = Kind(name="unauthorized", status=401, title="The bearer token is needed")
FORBIDDEN: Final = Kind(name="forbidden", status=403, title="Not from there")
UNKNOWN_OPERATION: Final = Kind(
    name="unknown-operation", status=404, title="No such operation or message is known"
)
UNKNOWN_EVENT: Final = Kind(name="unknown-event", status=404, title="No such event is kept")
UNKNOWN_SINK: Final = Kind(name="unknown-sink", status=404, title="There is no such sink")
UNKNOWN_PATH: Final = Kind(name="unknown-path", status=404, title="There is nothing at this path")
METHOD: Final = Kind(name="method", status=405, title="Not with this method")
SLOW_BODY: Final = Kind(name="slow-body", status=408, title="The body did not come in time")
CONFLICT: Final = Kind(name="conflict", status=409, title="It contradicts what is known")
GONE: Final = Kind(name="gone", status=410, title="The events after this one are no longer kept")
TOO_LARGE: Final = Kind(name="too-large", status=413, title="The body is too large")
NOT_JSON: Final = Kind(name="not-json", status=415, title="The body must be JSON")
INVALID: Final = Kind(name="invalid", status=422, title="Something in the request is wrong")
DEFECT: Final = Kind(name="defect", status=500, title="A defect of ours; it has been logged")
STORE: Final = Kind(name="store", status=503, title="The store cannot be used at the moment")
CROWDED: Final = Kind(name="crowded", status=503, title="Too many at the same time")


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldError:
    """What is wrong with one member, parameter or header."""

    field: str
    message: str


class Problem(Exception):
    """Ends a request with that problem. `detail` says what happened, `hint` what to do."""

    def __init__(
        self,
        kind: Kind,
        detail: str,
        *,
        hint: str | None = None,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.hint = hint
        self.errors = errors
        self.headers = headers or {}

    @property
    def document(self) -> ProblemDocument:
        """The problem as it is sent."""
        document: ProblemDocument = {
            "type": f"urn:comms-poller:problem:{self.kind.name}",
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
        }
        if self.hint is not None:
            document["hint"] = self.hint
        if self.errors:
            document["errors"] = [
                {"field": error.field, "message": error.message} for error in self.errors
            ]
        return document


def problem_of(error: Exception) -> Problem:
    """Say what an exception that no route expects means for who asked."""
    if isinstance(error, StoreError):
        return Problem(STORE, str(error), headers={"Retry-After": "1"})
    return Problem(DEFECT, "what was asked for may or may not be done")


def problem_response(problem: Problem) -> Response:
    """Make the answer."""
    return Response(
        dump_json(problem.document),
        status_code=problem.kind.status,
        headers=dict(problem.headers),
        media_type=PROBLEM_JSON,
    )
