"""Alerts: rules that find problems of an operation while it can still be stopped. Pure.

A rule counts failures, or finds a standstill. It fires once for each watch or group: the names of
the rules that fired are kept with the emitted state. Counters are judged at each accepted answer,
standstill by housekeeping, since it needs no new answer.

An alert comes before the event of the same answer and carries all counters that are not yet
emitted. It reports no change of status: `previousStatus` is that of the event before, and the next
event repeats it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from poller.tracking.event import Event, make_event
from poller.tracking.lifecycle import EventType
from poller.tracking.watch import Phase, ResourceType, Watch


class AlertSubject(StrEnum):
    """What a rule judges."""

    OPERATION = "operation"
    GROUP = "group"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRule:
    """One rule: the sum of `counters` reaches `count`, or `ratio` of the finished recipients.

    It is not judged before `at_least` recipients are finished. `stalled` is another kind of rule:
    nothing moved for this number of seconds. A rule applies only where all `labels` are present.
    """

    name: str
    of: AlertSubject = AlertSubject.OPERATION
    counters: tuple[str, ...] = ()
    ratio: float | None = None
    count: int | None = None
    at_least: int = 0
    stalled: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def is_for(self, labels: Mapping[str, str]) -> bool:
        """Return whether the rule applies to an operation or group with these labels."""
        return all(labels.get(name) == value for name, value in self.labels.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Why a rule fired: `measure` (`ratio`, `count` or `stalled`) has reached `threshold`."""

    name: str
    measure: str
    value: float
    threshold: float

    def report(self) -> dict[str, Any]:
        """Return `data.alert` of the event."""
        return {
            "name": self.name,
            "measure": self.measure,
            "value": self.value,
            "threshold": self.threshold,
        }


def judge_counters(rule: AlertRule, counters: Mapping[str, int], *, finished: int) -> Alert | None:
    """Return the alert where the counters have reached a threshold of the rule."""
    number = sum(counters.get(name, 0) for name in rule.counters)
    if not number or finished < rule.at_least:
        return None
    share = number / finished if finished else 0.0
    if rule.ratio is not None and share >= rule.ratio:
        return Alert(name=rule.name, measure="ratio", value=share, threshold=rule.ratio)
    if rule.count is not None and number >= rule.count:
        return Alert(name=rule.name, measure="count", value=number, threshold=rule.count)
    return None


def judge_standstill(rule: AlertRule, watch: Watch, *, now: datetime) -> Alert | None:
    """Return the alert where answers have shown no movement for as long as the rule says.

    A watch that is scheduled, has completed, or was not observed since the threshold is not judged.
    """
    if watch.phase is not Phase.ACTIVE or watch.status == "SCHEDULED":
        return None
    return judge_since(rule, moved_at=watch.moved_at, observed_at=watch.observed_at, now=now)


def judge_since(
    rule: AlertRule, *, moved_at: datetime | None, observed_at: datetime | None, now: datetime
) -> Alert | None:
    """Return the alert where the time from `moved_at` to `observed_at` reaches the threshold.

    These are the last movement and the last answer; `observed_at` is None without an answer.
    """
    if rule.stalled is None or moved_at is None or observed_at is None:
        return None
    if (observed_at - moved_at).total_seconds() < rule.stalled:
        return None
    seconds = round((now - moved_at).total_seconds())
    return Alert(name=rule.name, measure="stalled", value=seconds, threshold=rule.stalled)


def may_fire(rule: AlertRule, watch: Watch) -> bool:
    """Return whether the rule is for this watch and has not fired for it."""
    is_operation = watch.resource_type is ResourceType.OPERATION
    fired = watch.emitted.alerts
    return is_operation and is_open(rule, AlertSubject.OPERATION, labels=watch.labels, fired=fired)


def is_open(
    rule: AlertRule, subject: AlertSubject, *, labels: Mapping[str, str], fired: Collection[str]
) -> bool:
    """Return whether the rule judges such a subject with these labels, and is not among `fired`."""
    return rule.of is subject and rule.is_for(labels) and rule.name not in fired


def emit_alert(watch: Watch, alert: Alert, *, now: datetime) -> tuple[Watch, Event]:
    """Make the event of an alert, and return the watch after it."""
    event = make_event(
        watch,
        EventType.OPERATION_ALERT,
        now=now,
        final=False,
        more={"alert": alert.report()},
    )
    emitted = replace(
        watch.emitted,
        counters=watch.counters,
        sequence=event.sequence,
        alerts=(*watch.emitted.alerts, alert.name),
    )
    return watch.evolve(emitted=emitted), event
