"""The log lines of polling: what was asked, what came of it."""

from collections.abc import Iterable, Sequence
from typing import Final

import structlog

from poller.comms.errors import CommsError
from poller.comms.throttle import Change
from poller.store.watches import Observation, Registered
from poller.tracking.observe import Verdict

__all__ = [
    "log_failure",
    "log_observations",
    "log_pause_change",
    "log_registrations",
    "log_unreadable_schedule",
]

log = structlog.get_logger()

_MANY: Final = 100


def log_registrations(results: Sequence[Registered]) -> None:
    """Log what became of registrations: each by itself, at debug beside a sum if many came."""
    each = log.info if len(results) <= _MANY else log.debug
    for result in results:
        if result.conflict is not None:
            log.warning("operation.refused", operation=result.id, error=result.conflict)
        elif result.watch is not None:
            event = "operation.registered" if result.is_new else "operation.known"
            each(event, operation=result.id, kind=result.watch.kind)
    if len(results) > _MANY:
        log.info(
            "operations.registered",
            new=sum(result.is_new for result in results),
            known=sum(not result.is_new and result.conflict is None for result in results),
        )


def log_observations(observations: Iterable[Observation]) -> bool:
    """Log what answers did; True where they made events."""
    made = False
    for observation in observations:
        _tell(observation)
        made = made or bool(observation.events)
    return made


def log_failure(error: CommsError, **fields: object) -> None:
    """Log a request that brought nothing; `fields` say what it was about."""
    # a pause is logged once, when it begins, not for every request that runs into it
    level = log.debug if error.scope.is_pause else log.warning
    level(
        "poll.failed",
        fault=error.fault.value,
        http_status=error.status,
        error=str(error),
        **fields,
    )


def log_unreadable_schedule(error: CommsError, *, operation: str) -> None:
    """Log that nobody says when this operation will be sent: it is polled like any other."""
    log.info("schedule.unreadable", operation=operation, error=str(error))


def log_pause_change(change: Change, *, kind: str, error: CommsError | None) -> None:
    """Log what an answer did to the pauses of its account and kind."""
    if change.kind_changed:
        if change.kind_pause is None:
            log.info("kind.resumed", kind=kind)
        else:
            log.error("kind.paused", kind=kind, error=str(error))
    if not change.changed:
        return
    if change.pause is None:
        log.info("account.resumed")
    else:
        log.warning(
            "account.paused",
            reason=change.pause.reason.value,
            seconds=round(change.pause.wait.total_seconds(), 3),
            error=None if error is None else str(error),
        )


def _tell(observation: Observation) -> None:
    status = None if observation.watch is None else observation.watch.status
    bound = log.bind(operation=observation.id, status=status)
    match observation.verdict:
        case Verdict.STALE:
            bound.warning("poll.stale")
        case Verdict.LATE:
            bound.info("poll.late")
        case verdict:
            bound.debug("poll.answered", verdict=verdict.value)
    for recorded in observation.events:
        reason = recorded.event.reason
        bound.info(
            "event.recorded",
            event_type=recorded.event.type.value,
            event_id=recorded.id,
            sequence=recorded.event.sequence,
            final=recorded.event.final,
            reason=reason,
        )
        if reason == "not_found":
            bound.warning(
                "operation.not_found",
                kind=recorded.event.kind,
                hint="is it of another kind (--kind), or of another account?",
            )
