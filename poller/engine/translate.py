"""From the outcome of a sink to the result of a delivery. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from poller.sinks.base import SinkOutcome, SinkVerdict
from poller.tracking.delivery import AttemptResult, DeliveryAttempt

__all__ = ["attempt_of"]

_RESULTS: Final[Mapping[SinkVerdict, AttemptResult]] = {
    SinkVerdict.DELIVERED: AttemptResult.DELIVERED,
    SinkVerdict.FAILED: AttemptResult.FAILED,
    SinkVerdict.REFUSED: AttemptResult.REFUSED,
    SinkVerdict.GONE: AttemptResult.GONE,
    SinkVerdict.CLOSED: AttemptResult.FAILED,
}


def attempt_of(outcome: SinkOutcome, *, begun_at: datetime) -> DeliveryAttempt:
    """Say what a sink's outcome means for the delivery."""
    return DeliveryAttempt(
        result=_RESULTS[outcome.verdict],
        begun_at=begun_at,
        status=outcome.status,
        error=outcome.error,
        retry_after=outcome.retry_after,
    )
