"""Events: from a change to a CloudEvent in structured JSON.

An event is about a watch, which is an operation or a message, or about a group. One class carries
both through the program; they differ in `data` only.

CloudEvents 1.0 with the `sequence` and `partitionkey` extensions, and those of distributed tracing
where the registration named a trace. The shape is a contract: `event.schema.json` beside this file
describes it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from importlib.resources import files
from typing import Any, Final, Self, cast

from poller.text import dump_json, format_instant, parse_instant
from poller.tracking.lifecycle import GROUP, EventType
from poller.tracking.privacy import attempt_changes, attempt_statuses
from poller.tracking.trace import Trace
from poller.tracking.watch import ResourceType, Watch

_SEQUENCE_DIGITS: Final = 10
_TYPES: Final = frozenset(EventType)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event of one watch or group, before the store gives it its id and its position.

    `subject` is the id of the watch or the name of the group; `sequence` counts within `source`.
    """

    type: EventType
    subject: str
    source: str
    sequence: int
    time: datetime
    labels: Mapping[str, str]
    final: bool
    data: Mapping[str, Any]
    trace: Trace | None = None

    @property
    def snapshot(self) -> Mapping[str, Any]:
        """The operation or message as the API showed it; empty for a group."""
        resource_type = self.type.resource_type
        shown: Mapping[str, Any] = {} if resource_type is None else self.data[resource_type.value]
        return shown

    @property
    def is_of_group(self) -> bool:
        """Whether this is about a group."""
        return self.type.resource_type is None

    @property
    def is_of_member(self) -> bool:
        """Whether this is about a member of a group."""
        return not self.is_of_group and self.data.get("group") is not None

    @property
    def is_summary(self) -> bool:
        """Whether this is a final or a breakdown of a group, or of a watch that is in no group."""
        return not self.is_of_member and (self.final or self.breakdown is not None)

    @property
    def status(self) -> str | None:
        """The status in the snapshot; None where it was never seen."""
        return self.snapshot.get("status")

    @property
    def counters(self) -> dict[str, int]:
        """The counters of the watch or group; other members of `stats` are not counted."""
        stats = self.data["stats"] if self.is_of_group else self.snapshot.get("stats")
        if not isinstance(stats, Mapping):
            return {}
        # a null counter counts as 0, and is not missing
        known = {name: 0 if value is None else value for name, value in stats.items()}
        return {name: value for name, value in known.items() if type(value) is int and value >= 0}

    @property
    def members(self) -> Mapping[str, int] | None:
        """The numbers of a group's members, in total and by state; None for other subjects."""
        found: Mapping[str, int] | None = self.data["operations"] if self.is_of_group else None
        return found

    @property
    def updated_at(self) -> datetime | None:
        """When the API changed it; None where the API does not say."""
        return parse_instant(self.snapshot.get("updatedAt"))

    @property
    def created_at(self) -> datetime | None:
        """When it was created; None where the API does not say."""
        return parse_instant(self.snapshot.get("createdAt"))

    @property
    def observed_at(self) -> datetime | None:
        """When the answer behind this event arrived; None where there was none."""
        return parse_instant(self.data.get("observedAt"))

    @property
    def kind(self) -> str | None:
        """The kind of what is watched; None for a group, whose members may be of several."""
        return None if self.is_of_group else str(self.data["kind"])

    @property
    def previous_status(self) -> str | None:
        """The status that was emitted before; None for the first event, and for a group."""
        status: str | None = self.data.get("previousStatus")
        return status

    @property
    def delta(self) -> Mapping[str, int]:
        """The counters that changed since the event before, by how much."""
        delta: Mapping[str, int] = self.data["delta"]
        return delta

    @property
    def reason(self) -> str | None:
        """Why the watch was lost; None in every other event."""
        reason: str | None = self.data.get("reason")
        return reason

    @property
    def breakdown(self) -> Mapping[str, Any] | None:
        """What failed, and why; None in every event but a breakdown."""
        return self.data.get("breakdown")

    @property
    def alert(self) -> Mapping[str, Any] | None:
        """Which rule fired, and why; None in every event but an alert."""
        return self.data.get("alert")

    @property
    def reports_change(self) -> bool:
        """Whether a status or a counter changed since the event before."""
        return bool(self.delta) or self.previous_status != self.status

    def render(self, event_id: str) -> str:
        """Write the CloudEvent as JSON on one line, the same text at every delivery."""
        return dump_json(
            {
                "specversion": "1.0",
                "id": event_id,
                "source": self.source,
                "type": self.type.value,
                "subject": self.subject,
                "time": format_instant(self.time),
                "datacontenttype": "application/json",
                "sequence": f"{self.sequence:0{_SEQUENCE_DIGITS}d}",
                "partitionkey": self.subject,
                **({} if self.trace is None else self.trace.members),
                "data": self.data,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EmittedEvent(Event):
    """An event as receivers get it, with its id; `body` is the CloudEvent as JSON on one line.

    The id is the same at every delivery. A newer daemon may emit types that are not known here:
    their `type` is the `….changed` or `….progress` of their family, and `body` has the real one.
    """

    id: str
    body: str = field(repr=False)

    @classmethod
    def of(cls, event: Event, *, event_id: str, body: str) -> Self:
        """Return the event that was emitted with this id and this body."""
        members = {each.name: getattr(event, each.name) for each in fields(Event)}
        return cls(**members, id=event_id, body=body)


def read_emitted(body: str) -> EmittedEvent:
    """Read a CloudEvent in JSON; the body is kept byte for byte.

    :raises ValueError: where it is not an event of this program.
    """
    document = json.loads(body)
    event = read_event(document)
    if not isinstance(event_id := document.get("id"), str):
        raise ValueError("not an event: it has no id")  # noqa: TRY004 - as for any other member
    return EmittedEvent.of(event, event_id=event_id, body=body)


def read_event(document: Mapping[str, Any]) -> Event:
    """Read a CloudEvent that this program, or a newer version of it, has made.

    :raises ValueError: where the document is not one.
    """
    try:
        data = document["data"]
        time = parse_instant(document["time"])
        if time is None:
            raise ValueError(f"not an instant: {document['time']!r}")
        event = Event(
            type=_type(str(document["type"])),
            subject=document["subject"],
            source=document["source"],
            sequence=int(document["sequence"]),
            time=time,
            labels=data["labels"],
            final=data["final"],
            data=data,
            trace=_trace(document),
        )
        # check that every property can be read
        if not isinstance(event.snapshot, Mapping):
            raise TypeError(event.type)  # noqa: TRY301 - as for any other member
        _ = event.kind, event.delta, event.counters
        if not event.is_of_group:
            _ = data["observedAt"], data["previousStatus"], data["reason"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an event: {error!r}") from None
    return event


def make_event(
    watch: Watch,
    event_type: EventType,
    *,
    now: datetime,
    final: bool,
    reason: str | None = None,
    more: Mapping[str, Any] | None = None,
) -> Event:
    """Make the next event of `watch`, with all changes that were not emitted yet.

    `more` are further members of `data`.
    """
    observed_at = watch.observed_at
    return Event(
        type=event_type,
        subject=watch.id,
        source=watch.source,
        sequence=watch.emitted.sequence + 1,
        time=now,
        labels=watch.labels,
        final=final,
        trace=watch.trace,
        data={
            watch.resource_type.value: _shown(watch),
            "kind": watch.kind,
            "previousStatus": watch.emitted.status,
            "delta": watch.unemitted,
            "observedAt": None if observed_at is None else format_instant(observed_at),
            "final": final,
            "labels": dict(watch.labels),
            "reason": reason,
            **({} if watch.group is None else {"group": watch.group}),
            **_changes(watch),
            **(more or {}),
        },
    )


def emit(
    watch: Watch,
    event_type: EventType,
    *,
    now: datetime,
    final: bool = False,
    reason: str | None = None,
    more: Mapping[str, Any] | None = None,
) -> tuple[Watch, Event]:
    """Make the next event of `watch`, and return the watch after it."""
    event = make_event(watch, event_type, now=now, final=final, reason=reason, more=more)
    before, seen = watch.emitted, watch.snapshot
    is_progress = event_type.value.endswith(".progress")
    emitted = replace(
        before,
        status=watch.status,
        counters=before.counters if seen is None else watch.counters,
        sequence=event.sequence,
        progress_at=now if is_progress else before.progress_at,
        attempts=before.attempts if seen is None else _attempts(watch),
    )
    return watch.evolve(emitted=emitted), event


def _shown(watch: Watch) -> Mapping[str, Any]:
    if watch.snapshot is None:
        return _emitted_state(watch)
    if watch.resource_type is ResourceType.MESSAGE:
        return {**watch.snapshot, "stats": dict(watch.counters)}
    return watch.snapshot


def _changes(watch: Watch) -> dict[str, Any]:
    """Return the attempts of a message that are new or have another status."""
    if watch.resource_type is not ResourceType.MESSAGE:
        return {}
    return {"changes": attempt_changes(watch.emitted.attempts, watch.snapshot or {})}


def _attempts(watch: Watch) -> tuple[str, ...]:
    is_message = watch.resource_type is ResourceType.MESSAGE
    return attempt_statuses(watch.snapshot or {}) if is_message else ()


def _emitted_state(watch: Watch) -> dict[str, Any]:
    """Return the emitted state in place of a snapshot: there never was one, or it was pruned.

    With the emitted counters of a stub the deltas still add up to the last event.
    """
    if watch.emitted.status is None:
        return {"id": watch.id}
    return {
        "id": watch.id,
        "status": watch.emitted.status,
        "stats": dict(watch.emitted.counters),
    }


def _trace(document: Mapping[str, Any]) -> Trace | None:
    if "traceparent" not in document:
        return None
    return Trace(traceparent=document["traceparent"], tracestate=document.get("tracestate"))


def _type(name: str) -> EventType:
    """Return the type of that name; for one of a newer daemon the closest type of its family."""
    if name in _TYPES:
        return EventType(name)
    if name.startswith(f"{GROUP}."):
        return EventType.GROUP_PROGRESS
    is_message = name.startswith(f"{ResourceType.MESSAGE}.")
    return EventType.MESSAGE_CHANGED if is_message else EventType.OPERATION_CHANGED


def event_id(now: datetime, entropy: int) -> str:
    """Make a UUIDv7 (RFC 9562): ordered by `now` to the millisecond, 74 random bits of `entropy`.

    Never derived from the content: two equal events still have different ids.
    """
    milliseconds = int(now.timestamp() * 1000) & 0xFFFF_FFFF_FFFF
    high = entropy >> 62 & 0xFFF
    low = entropy & 0x3FFF_FFFF_FFFF_FFFF
    value = milliseconds << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low
    digits = f"{value:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def load_event_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of an event, a fresh copy at every call.

    It is a file of this package, so that receivers in any language can take it from there.
    """
    text = files("poller.tracking").joinpath("event.schema.json").read_text(encoding="utf-8")
    return cast("dict[str, Any]", json.loads(text))
