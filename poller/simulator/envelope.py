"""The vendor's error envelope, and the exception that becomes one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["ApiError", "SimulatedProblem", "envelope", "info_url"]

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
    """One thing that is wrong: what, and where (a member or a parameter)."""

    message: str
    context: str | None = None


class ApiError(Exception):
    """A refusal: an HTTP status and, for the envelope, at least one problem."""

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
    """Return where the vendor explains an error code."""
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
