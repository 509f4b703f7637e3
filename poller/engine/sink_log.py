"""The log lines of one sink: its health at warning, each attempt at debug."""

from datetime import datetime

from poller.log import get_logger
from poller.store.events import StoredEvent
from poller.text import format_instant
from poller.tracking.delivery import Delivery, DeliveryState
from poller.tracking.sink_health import SinkHealth, SinkState, next_attempt
from poller.trouble import Notice, TroubleReporter

log = get_logger()

_HINTS = {
    SinkState.REJECTING: "it answers, but refuses some events; see `poller sinks`",
    SinkState.FAILING: "its events are tried one at a time until one is delivered",
    SinkState.DOWN: "one event is tried at most every 5 minutes until one is answered",
    SinkState.DISABLED: "SIGHUP, a restart or `poller replay` enables it",
}
_GRAVE = frozenset({SinkState.DOWN, SinkState.DISABLED})


class SinkLog:
    """Logs when the trouble of a sink begins, changes, goes on and ends."""

    def __init__(self, sink: str) -> None:
        self._log = log.bind(sink=sink)
        self._reporter = TroubleReporter()

    def delivery(self, event: StoredEvent, delivery: Delivery, *, now: datetime) -> None:
        """Log the result of one attempt; of many events given up at once, only the first."""
        bound = self._log.bind(
            operation=event.subject,
            event_id=event.id,
            event_type=event.type,
            attempts=delivery.attempts,
            http_status=delivery.status,
        )
        match delivery.state:
            case DeliveryState.DELIVERED:
                bound.debug("delivery.done")
            case DeliveryState.WAITING:
                bound.debug(
                    "delivery.failed",
                    error=delivery.error,
                    next_attempt=format_instant(delivery.due_at),
                )
            case DeliveryState.DEAD:
                notice = self._reporter.failure("dead letters", event.id, now)
                if notice is None:
                    bound.debug("delivery.dead", error=delivery.error)
                else:
                    bound.error(
                        "delivery.dead",
                        error=delivery.error,
                        unlogged=notice.unlogged - 1,
                        hint="see `poller dead-letters`",
                    )

    def health(self, before: SinkHealth, after: SinkHealth, *, failed: int, now: datetime) -> None:
        """Log the health of the sink after attempts; `failed` of them were not delivered."""
        if after.state is SinkState.OK:
            if before.state is not SinkState.OK:
                # trouble that began in an earlier process is reported too, so that its end is
                self._failure(before, 0, now)
            if (notice := self._reporter.success("sink", now)) is not None:
                self._log.info(
                    "sink.recovered", since=format_instant(notice.since), failures=notice.failures
                )
        elif failed or before.state is not after.state:
            is_urgent = after.state in _GRAVE and before.state is not after.state
            notice = self._failure(after, failed, now, is_urgent=is_urgent)
            if notice is not None:
                self._trouble(after, notice, now)

    def _failure(
        self, health: SinkHealth, times: int, now: datetime, *, is_urgent: bool = False
    ) -> Notice | None:
        kind = (health.state, health.status)
        return self._reporter.failure("sink", kind, now, times=times, is_urgent=is_urgent)

    def _trouble(self, health: SinkHealth, notice: Notice, now: datetime) -> None:
        level = self._log.error if health.state in _GRAVE else self._log.warning
        upcoming = next_attempt(health, now)
        level(
            f"sink.{health.state.value}",
            error=health.error,
            http_status=health.status,
            since=format_instant(health.since),
            failures=notice.failures,
            next_attempt=None if upcoming is None else format_instant(upcoming),
            hint=_HINTS[health.state],
        )
