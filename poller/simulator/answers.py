"""JSON answers, the vendor's error envelope, and the exception that becomes one."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

_MAX_BODY: Final = 10 * 1024 * 1024

_CODE_OF_STATUS: Final[Mapping[int, int]] = {
    400: 20001,
    401: 20003,
    404: 20404,
    405: 20004,
    409: 20409,
    413: 20413,
    429: 20429,
    500: 20500,
    503: 20503,
}


@dataclass(frozen=True, slots=True)
class SimulatedProblem:
    """One error: a message, and its place (a member or a parameter)."""

    message: str
    context: str | None = None


class ApiError(Exception):
    """An error answer: an HTTP status and, for the envelope, at least one problem."""

    def __init__(
        self, status: int, *problems: SimulatedProblem, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.status = status
        self.problems: Sequence[SimulatedProblem] = problems
        self.headers = dict(headers or {})

    def document(self) -> dict[str, Any]:
        """Return the envelope."""
        return envelope(self.status, *self.problems)


def info_url(code: int) -> str:
    """Return the URL at which the vendor explains an error code."""
    return f"https://www.twilio.com/docs/api/errors/{code}"


def envelope(status: int, *problems: SimulatedProblem) -> dict[str, Any]:
    """Return the body of an error answer."""
    code = _CODE_OF_STATUS.get(status, status)
    return {
        "errors": [
            {
                "code": code,
                "message": problem.message,
                "infoUrl": info_url(code),
                "context": problem.context,
            }
            for problem in problems
        ]
    }


def answer(
    document: object, *, status: int = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> Response:
    """Make a JSON answer."""
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(
        errors="backslashreplace"  # a lone surrogate in a send is answered as its escape
    )
    return Response(body, status_code=status, headers=headers, media_type="application/json")


async def read_json(request: Request) -> object:
    """Decode the body of a request.

    :raises ApiError: 413 over the vendor's 10 MB, 400 where it is not JSON.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY:
            raise ApiError(413, SimulatedProblem("The request body is larger than 10 MB."))
    try:
        return json.loads(bytes(body))
    except (ValueError, RecursionError):
        raise ApiError(400, SimulatedProblem("The request body is not JSON.")) from None
