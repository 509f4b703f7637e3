"""All errors of requests, as problem details (RFC 9457)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from poller.server.control import DocumentResponse
from poller.server.documents import FieldErrorDocument, ProblemDocument
from poller.store.errors import StoreError

PROBLEM_JSON: Final = "application/problem+json"
_LONGEST_SHOWN: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemKind:
    """A kind of problem: `name` ends its type URI, for programs; `title` is for people."""

    name: str
    status: int
    title: str


UNREADABLE: Final = ProblemKind(name="unreadable", status=400, title="The request cannot be read")
UNAUTHORIZED: Final = ProblemKind(
    name="unauthorized", status=401, title="A bearer token is required"
)
FORBIDDEN: Final = ProblemKind(
    name="forbidden", status=403, title="This origin or host is not allowed"
)
UNKNOWN_OPERATION: Final = ProblemKind(
    name="unknown-operation", status=404, title="No such operation or message is known"
)
UNKNOWN_GROUP: Final = ProblemKind(name="unknown-group", status=404, title="No such group is known")
UNKNOWN_EVENT: Final = ProblemKind(name="unknown-event", status=404, title="No such event is kept")
UNKNOWN_SINK: Final = ProblemKind(name="unknown-sink", status=404, title="There is no such sink")
UNKNOWN_PATH: Final = ProblemKind(name="unknown-path", status=404, title="No such path")
METHOD: Final = ProblemKind(name="method", status=405, title="Method not allowed")
SLOW_BODY: Final = ProblemKind(
    name="slow-body", status=408, title="The body did not arrive in time"
)
CONFLICT: Final = ProblemKind(name="conflict", status=409, title="It conflicts with what is known")
GONE: Final = ProblemKind(
    name="gone", status=410, title="The events after this one are no longer kept"
)
TOO_LARGE: Final = ProblemKind(name="too-large", status=413, title="The body is too large")
NOT_JSON: Final = ProblemKind(name="not-json", status=415, title="The body must be JSON")
INVALID: Final = ProblemKind(name="invalid", status=422, title="Something in the request is wrong")
DEFECT: Final = ProblemKind(name="defect", status=500, title="Internal error; it has been logged")
STORE: Final = ProblemKind(name="store", status=503, title="The store cannot be used at the moment")
CROWDED: Final = ProblemKind(name="crowded", status=503, title="Too many at the same time")


class Problem(HTTPException):
    """Ends a request with this problem. `detail` says what happened, `hint` what to do."""

    def __init__(
        self,
        kind: ProblemKind,
        detail: str,
        *,
        hint: str | None = None,
        errors: Sequence[FieldErrorDocument] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(kind.status, detail, headers)
        self.kind = kind
        self.hint = hint
        self.errors = errors

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
            document["errors"] = list(self.errors)
        return document

    @property
    def response(self) -> Response:
        """The answer that carries it."""
        return DocumentResponse(
            self.document, self.kind.status, headers=self.headers, media_type=PROBLEM_JSON
        )


def invalid(field: str, message: str) -> Problem:
    """Make the problem for one invalid field."""
    return _invalid([{"field": field[:_LONGEST_SHOWN], "message": message[:_LONGEST_SHOWN]}])


def invalid_request(error: RequestValidationError) -> Problem:
    """Make the problem for invalid parameters, headers or members of a body."""
    return _invalid([_field_error(one) for one in error.errors()])


def problem_of(error: Exception) -> Problem:
    """Make the problem for an exception that no route expects."""
    if isinstance(error, StoreError):
        return Problem(STORE, str(error), headers={"Retry-After": "1"})
    return Problem(DEFECT, "the request may or may not have taken effect")


def _invalid(errors: Sequence[FieldErrorDocument]) -> Problem:
    first = errors[0]
    return Problem(INVALID, f"{first['field']}: {first['message']}", errors=errors)


def _field_error(error: Mapping[str, Any]) -> FieldErrorDocument:
    # without the index in a list: the message names the value
    place = error["loc"]
    field = str(place[1] if len(place) > 1 else place[0])
    describe = _FAULTS.get(error["type"])
    context = error.get("ctx", {}) | {"in_body": place[0] == "body"}
    message = "cannot be used as it is" if describe is None else describe(context)
    return {"field": field[:_LONGEST_SHOWN], "message": message[:_LONGEST_SHOWN]}


def _too_many(context: Mapping[str, Any]) -> str:
    most = context["max_length"]
    return (
        f"may have {most} items at most"
        if context["in_body"]
        else f"may be given {most} times at most"
    )


def _one_of(expected: str) -> str:
    return f"must be one of: {expected.replace(chr(39), '').replace(' or ', ', ')}"


# our own messages: the library's describe its types, not what to write
_FAULTS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "missing": lambda _: "is missing",
    "extra_forbidden": lambda _: "there is no such member",
    "model_type": lambda _: "must be a JSON object",
    "list_type": lambda _: "must be a list",
    "string_type": lambda _: "must be text",
    "bool_parsing": lambda _: "must be true or false",
    "bool_type": lambda _: "must be true or false",
    "int_parsing": lambda _: "must be a whole number",
    "int_type": lambda _: "must be a whole number",
    "greater_than_equal": lambda context: f"must be at least {context['ge']}",
    "less_than_equal": lambda context: f"must be at most {context['le']}",
    "too_short": lambda context: f"must have at least {context['min_length']} items",
    "too_long": _too_many,
    "string_too_long": lambda context: f"may have {context['max_length']} characters at most",
    "enum": lambda context: _one_of(context["expected"]),
    "literal_error": lambda context: _one_of(context["expected"]),
    "value_error": lambda context: str(context["error"]),
}
