"""From the outcome of a request to what tracking, or a delivery, is told. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from poller.comms.errors import (
    CommsError,
    DeadlineExceeded,
    Forbidden,
    NetworkError,
    NonsensicalAnswer,
    NotFound,
    Rejected,
    Throttled,
    Unauthorized,
    Unavailable,
)
from poller.sinks.base import Outcome, Verdict
from poller.tracking import answers
from poller.tracking.deliveries import Attempt, Result

__all__ = ["answer_of", "attempt_of"]

_RESULTS: Final[Mapping[Verdict, Result]] = {
    Verdict.DELIVERED: Result.DELIVERED,
    Verdict.FAILED: Result.FAILED,
    Verdict.REFUSED: Result.REFUSED,
    Verdict.GONE: Result.GONE,
    Verdict.CLOSED: Result.FAILED,
}


def answer_of(
    error: CommsError, *, begun_at: datetime, arrived_at: datetime
) -> answers.Answer | None:
    """Say what a failed request means for what was asked about; None where it means nothing.

    401 and 403 speak of the credentials, 429 of all that the account does: the request was never
    processed, and is sent again when the pause is over. 404 and 400 count only in the vendor's own
    envelope: a gateway's page says nothing about it.
    """
    match error:
        case Unauthorized() | Forbidden() | Throttled():
            return None
        case NotFound(enveloped=True):
            return answers.NotFound(begun_at=begun_at, arrived_at=arrived_at)
        case Rejected(enveloped=True):
            return answers.Rejected(begun_at=begun_at, arrived_at=arrived_at)
        case NonsensicalAnswer():
            return answers.Nonsense(begun_at=begun_at, arrived_at=arrived_at, why=error.happened)
        case Unavailable() | NetworkError() | DeadlineExceeded():
            return answers.Failed(begun_at=begun_at, arrived_at=arrived_at)
        case _:
            return answers.Failed(begun_at=begun_at, arrived_at=arrived_at, answered=True)


def attempt_of(outcome: Outcome, *, begun_at: datetime) -> Attempt:
    """Say what a sink's outcome means for the delivery."""
    return Attempt(
        result=_RESULTS[outcome.verdict],
        begun_at=begun_at,
        status=outcome.status,
        error=outcome.error,
        retry_after=outcome.retry_after,
    )
