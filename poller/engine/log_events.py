"""The log lines of registrations and polling."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from poller.comms.errors import CommsError
from poller.comms.gate import Pause
from poller.comms.throttle import Change
from poller.log import get_logger
from poller.store.events import StoredEvent
from poller.store.registrations import Registered
from poller.store.watches import Observation
from poller.tracking.answer import Verdict
from poller.trouble import TroubleLog

log = get_logger()

_MANY: Final = 100
# requests for many operations share one trouble: a single good answer does not end it
_QUIET: Final = timedelta(minutes=1)


class RegistrationLog:
    """The log lines of registrations."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._troubles = TroubleLog(now)

    def results(self, results: Sequence[Registered]) -> None:
        """Log each result, and a total where there are many; each at debug then."""
        each = log.info if len(results) <= _MANY else log.debug
        for result in results:
            if result.conflict is not None:
                self._troubles.failure(
                    log,
                    "operation.refused",
                    cause=result.id,
                    operation=result.id,
                    error=result.conflict,
                )
            elif result.watch is not None:
                event = "operation.registered" if result.is_new else "operation.known"
                each(event, operation=result.id, kind=result.watch.kind)
        log_recorded(event for result in results for event in result.events)
        if len(results) > _MANY:
            refused = sum(result.conflict is not None for result in results)
            new = sum(result.is_new for result in results)
            log.info(
                "operations.registered",
                new=new,
                known=len(results) - new - refused,
                refused=refused,
            )


def log_discovered(discovered: Iterable[Registered]) -> None:
    """Log operations that a list showed, and that are watched without a registration."""
    for found in discovered:
        kind = None if found.watch is None else found.watch.kind
        log.info("operation.discovered", operation=found.id, kind=kind)


class PollLog:
    """The log lines of requests to the API and of the effects of their answers."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._troubles = TroubleLog(now, quiet=_QUIET)

    def observations(self, observations: Iterable[Observation]) -> bool:
        """Log the effects of answers; True where they caused events."""
        has_events = False
        for observation in observations:
            self._observation(observation)
            has_events = has_events or bool(observation.events)
        return has_events

    def failure(self, error: CommsError, **fields: object) -> None:
        """Log a request that failed; `fields` say what it was about."""
        bound = log.bind(
            fault=error.fault.value, http_status=error.status, error=str(error), **fields
        )
        # a pause is logged once, when it begins, not for every request that runs into it
        if error.scope.is_pause:
            bound.debug("poll.failed")
        else:
            cause = (error.fault, error.status)
            self._troubles.failure(bound, "poll.failed", cause=cause)

    def success(self) -> None:
        """Record a success: it may end the failures."""
        self._troubles.success(log, "poll.failed", "poll.recovered")

    def nonsense(self, problem: str, *, kind: str) -> None:
        """Log an item of a list that is not an operation."""
        self._troubles.failure(
            log, "sweep.nonsense", subject=kind, cause=problem, kind=kind, error=problem
        )

    def _observation(self, observation: Observation) -> None:
        status = None if observation.watch is None else observation.watch.status
        bound = log.bind(operation=observation.id, status=status)
        match observation.verdict:
            case Verdict.STALE:
                self._troubles.failure(bound, "poll.stale", cause=observation.id)
            case Verdict.LATE:
                bound.info("poll.late")
            case verdict:
                bound.debug("poll.answered", verdict=verdict.value)
        log_recorded(observation.events, status=status)


def log_recorded(events: Iterable[StoredEvent], **fields: object) -> None:
    """Log events that were recorded; `fields` are added to those about a watch."""
    for stored in events:
        event = stored.event
        about: dict[str, object] = {"group": stored.subject}
        if not stored.is_of_group:
            about = {"operation": stored.subject, **fields}
        log.info(
            "event.recorded",
            **about,
            event_type=stored.type,
            event_id=stored.id,
            sequence=stored.sequence,
            final=stored.final,
            reason=event.reason,
        )
        if event.alert is not None:
            log.warning(
                "alert.fired",
                **about,
                alert=event.alert["name"],
                measure=event.alert["measure"],
                value=event.alert["value"],
                threshold=event.alert["threshold"],
            )
        if event.reason == "not_found":
            log.warning(
                "operation.not_found",
                operation=stored.subject,
                kind=event.kind,
                hint="check its kind (--kind) and its account",
            )


def log_unreadable_schedule(error: CommsError, *, operation: str) -> None:
    """Log that the send time of this operation is unknown: it is polled like any other."""
    log.info("schedule.unreadable", operation=operation, error=str(error))


def log_pause_change(change: Change, *, kind: str, error: CommsError | None) -> None:
    """Log the effect of an answer on the pauses of its account and kind."""
    if change.kind_changed:
        if change.kind_pause is None:
            log.info("kind.resumed", kind=kind)
        else:
            log.error("kind.paused", kind=kind, error=str(error))
    if change.changed:
        _log_account_pause(change.pause, error=None if error is None else str(error))


def log_adopted_pause(pause: Pause | None) -> None:
    """Log that another daemon has paused the account, or has ended its pause."""
    _log_account_pause(pause, error=None, by="another daemon")


def _log_account_pause(pause: Pause | None, **fields: object) -> None:
    if pause is None:
        fields.pop("error")
        log.info("account.resumed", **fields)
        return
    seconds = round(pause.wait.total_seconds(), 3)
    log.warning("account.paused", reason=pause.reason.value, seconds=seconds, **fields)
