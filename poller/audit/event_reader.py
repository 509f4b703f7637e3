"""One line of a file of events, read without trusting it. Pure.

First the shape is checked, by tables that are equivalent to the JSON Schema at a fraction of its
cost, then contradictions within one event. Every fault is a sentence that names the member, shows
its value and says what it should be.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from poller.audit.group import GroupContent, group_contradictions, group_faults, read_group
from poller.audit.shape import (
    Check,
    counters_of,
    faults,
    found,
    is_delta,
    is_instant,
    is_name,
    is_object,
    is_object_of_texts,
    or_null,
    show,
)
from poller.comms.kinds import KINDS
from poller.tracking.lifecycle import LIFECYCLES, EventType, lifecycle_of
from poller.tracking.watch import ResourceType

# These types end a watch with any settings. Types in neither set are final unless the watch
# settles.
_ENDS: Final = frozenset(
    event_type
    for lifecycle in LIFECYCLES.values()
    for event_type in (
        lifecycle.settled,
        lifecycle.lost,
        *(lifecycle.events[status] for status in set(lifecycle.terminal) - lifecycle.lasting),
    )
)
_GOES_ON: Final = frozenset(
    event_type
    for lifecycle in LIFECYCLES.values()
    for event_type in (
        lifecycle.progress,
        lifecycle.changed,
        *(lifecycle.events[status] for status in set(lifecycle.events) - set(lifecycle.terminal)),
    )
) | {EventType.OPERATION_BREAKDOWN, EventType.OPERATION_ALERT}
# a message that becomes READ while it settles continues to settle
_EITHER: Final = frozenset({EventType.MESSAGE_READ})
_SETTLES_FROM: Final[Mapping[ResourceType, frozenset[str]]] = {
    ResourceType.OPERATION: frozenset({"COMPLETED"}),
    ResourceType.MESSAGE: frozenset({"DELIVERED", "READ", "GROUP"}),
}
_GROUP_GOES_ON: Final = frozenset(
    {EventType.GROUP_PROGRESS, EventType.GROUP_ALERT, EventType.GROUP_BREAKDOWN}
)
_IS_FINAL: Final[Mapping[str, bool]] = {
    **dict.fromkeys(_GOES_ON, False),
    **dict.fromkeys(_ENDS - _EITHER, True),
    **dict.fromkeys(_GROUP_GOES_ON, False),
    EventType.GROUP_COMPLETED: True,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EventContent:
    """The snapshot in an event, or the sums of a group; `counters` are those above 0.

    `status` and `counters` are None if the event has no snapshot. `member_of` names the group that
    counts the subject; `group` is what an event of a group contains about its members.
    """

    previous_status: str | None
    status: str | None
    counters: Mapping[str, int] | None
    delta: Mapping[str, int]
    member_of: str | None = None
    group: GroupContent | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedEvent:
    """An event with an identity, so that it can be checked against others.

    `scope` is the source without kind and id; for a group it includes the creation time, since a
    name can be reused. `content` is None if the data cannot be read. Equal events have the same
    `digest`.
    """

    id: str
    scope: str
    subject: str
    type: str
    sequence: int
    final: bool
    content: EventContent | None
    digest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LineReading:
    """The event in a line, and all faults that the line shows by itself."""

    event: AuditedEvent | None = None
    subject: str | None = None
    unreadable: str | None = None
    misshapen: tuple[str, ...] = ()
    contradictions: tuple[str, ...] = ()


def read_line(text: bytes) -> LineReading:
    """Read one line; a line feed at its end is allowed."""
    try:
        document = json.loads(text.decode("utf-8"), parse_constant=_refuse)
        digest = hash(json.dumps(document, sort_keys=True))
    except UnicodeDecodeError:
        return LineReading(unreadable="not UTF-8")
    except (ValueError, RecursionError):
        return LineReading(unreadable="not JSON")
    if not isinstance(document, dict):
        return LineReading(unreadable="not a JSON object")
    nameless = tuple(_identity_faults(document))
    if nameless:
        subject = document.get("subject")
        return LineReading(subject=subject if is_name(subject) else None, misshapen=nameless)
    return _read(document, digest)


def _read(event: dict[str, Any], digest: int) -> LineReading:
    subject, event_type, data = event["subject"], event["type"], event.get("data")
    misshapen = tuple(_envelope_faults(event))
    contradictions: tuple[str, ...] = ()
    content = None
    final = _IS_FINAL.get(event_type, False)
    if isinstance(data, dict):
        # a flag that contradicts its type is a fault of its own, and does not count as an end
        final = _IS_FINAL.get(event_type, data.get("final") is True)
        wrong, content, contradictions = _read_data(event_type, data, subject)
        misshapen += wrong
    audited = AuditedEvent(
        id=event["id"],
        scope=_scope(event),
        subject=subject,
        type=event_type,
        sequence=int(event["sequence"]),
        final=final,
        content=content,
        digest=digest,
    )
    return LineReading(
        event=audited, subject=subject, misshapen=misshapen, contradictions=contradictions
    )


def _read_data(
    event_type: str, data: Mapping[str, Any], subject: str
) -> tuple[tuple[str, ...], EventContent | None, tuple[str, ...]]:
    """Return faults of the shape, the content if there are none, and contradictions."""
    if event_type in _OF_GROUPS:
        wrong = tuple(group_faults(data, subject))
        if wrong:
            return wrong, None, ()
        content = EventContent(
            previous_status=None,
            status=None,
            # sums: unlike those of a snapshot, all are counters
            counters={name: value for name, value in data["stats"].items() if value},
            delta=data["delta"],
            group=read_group(data),
        )
        return (), content, tuple(group_contradictions(EventType(event_type), data))
    thing = _THINGS.get(event_type, ResourceType.OPERATION)
    wrong = tuple(_data_faults(data, subject, thing))
    if event_type not in _THINGS:
        return (), None if wrong else _content(event_type, data, thing), ()
    if wrong:
        return wrong, None, ()
    content = _content(event_type, data, thing)
    return (), content, tuple(_contradictions(EventType(event_type), thing, content, data))


def _content(event_type: str, data: Mapping[str, Any], thing: ResourceType) -> EventContent:
    shown = data[thing.value]
    stats = shown.get("stats")
    # an alert reports no change of status: the event after it does
    is_alert = event_type == EventType.OPERATION_ALERT
    return EventContent(
        previous_status=data["previousStatus"],
        status=data["previousStatus"] if is_alert else shown.get("status"),
        counters=None if stats is None else counters_of(stats),
        delta=data["delta"],
        member_of=data.get("group"),
    )


def _scope(event: Mapping[str, Any]) -> str:
    """Return the source without the kind, which may be corrected while the sequence continues."""
    source: str = event["source"]
    subject, data = event["subject"], event.get("data")
    if event["type"] in _OF_GROUPS:
        return f"{source} {data.get('createdAt')}" if isinstance(data, dict) else source
    above, _, name = source.rpartition("/")
    if name != subject:
        return source
    return above.removesuffix("/Operations").rpartition("/")[0]


def _contradictions(
    event_type: EventType, thing: ResourceType, content: EventContent, data: Mapping[str, Any]
) -> Iterator[str]:
    """Yield the members of one event that contradict each other."""
    final, reason = data["final"], data["reason"]
    lifecycle = lifecycle_of(thing)
    if _IS_FINAL.get(event_type, final) is not final:
        yield f"{event_type} with data.final {show(final)}"
    if (reason is not None) is not (event_type is lifecycle.lost):
        yield f"{event_type} with data.reason {show(reason)}"
    if content.counters is None and content.delta:
        yield f"data.delta without data.{thing}.stats"
    if not _fits(event_type, thing, content):
        yield f"{event_type} from status {content.previous_status} to {content.status}"
    elif event_type is lifecycle.progress and not content.delta:
        yield f"{event_type} without data.delta"


def _fits(event_type: EventType, thing: ResourceType, content: EventContent) -> bool:
    """Return whether an event of that type can report this step from status to status."""
    lifecycle = lifecycle_of(thing)
    before, after = content.previous_status, content.status
    if event_type is lifecycle.progress:
        return after is not None and before == after
    if event_type is lifecycle.lost:
        return before not in lifecycle.terminal and after not in lifecycle.terminal
    if event_type is EventType.OPERATION_ALERT:
        return True
    if event_type is EventType.OPERATION_BREAKDOWN:
        return before in lifecycle.terminal and after in {None, before}
    if event_type is lifecycle.settled:
        return before in _SETTLES_FROM[thing] and after in {None, before}
    return after is not None and before != after and lifecycle.event_type(after) is event_type


def _refuse(constant: str) -> float:
    raise ValueError(constant)


_THINGS: Final[Mapping[str, ResourceType]] = {
    one.value: one.resource_type for one in EventType if one.resource_type is not None
}
"""The resource of each event type with a known shape; later versions may add types."""
_OF_GROUPS: Final = frozenset(one.value for one in EventType if one.resource_type is None)

_FAMILIES: Final = ("operation.", "message.", "group.")
_SEQUENCE_DIGITS: Final = 10
_LONGEST_SEQUENCE: Final = 18


def _identity_faults(event: Mapping[str, Any]) -> Iterator[str]:
    """Check the members that identify an event."""
    return faults(event, _IDENTITY)


def _envelope_faults(event: Mapping[str, Any]) -> Iterator[str]:
    """Check the other members beside `data`; those of the identity are checked already."""
    yield from faults(event, _ENVELOPE)
    if event.get("partitionkey") != event["subject"]:
        yield f"partitionkey is {found(event, 'partitionkey')}, not the subject"
    thing = _THINGS.get(event["type"])
    is_group = event["type"] in _OF_GROUPS
    place = f":groups:{event['subject']}" if is_group else _place(event, thing)
    if (thing or is_group) and not event["source"].endswith(place):
        yield f"source is {show(event['source'])}, does not end with {place}"


def _data_faults(data: Mapping[str, Any], subject: str, thing: ResourceType) -> Iterator[str]:
    """Check the `data` of an event about an operation or a message."""
    yield from (f"data.{fault}" for fault in faults(data, {thing.value: _OBJECT, **_DATA}))
    shown = data.get(thing.value)
    if not isinstance(shown, dict):
        return
    if shown.get("id") != subject:
        yield f"data.{thing}.id is {found(shown, 'id')}, not the subject"
    if "group" in data and not is_name(data["group"]):
        yield f"data.group is {found(data, 'group')}, not text"
    if "status" in shown or "stats" in shown:
        yield from (f"data.{thing}.{fault}" for fault in faults(shown, _SNAPSHOT))


def _place(event: Mapping[str, Any], thing: ResourceType | None) -> str:
    """Return how the source of this event must end: with the path of its kind, if known."""
    data = event.get("data")
    name = data.get("kind") if isinstance(data, dict) else None
    kind = KINDS.get(name) if isinstance(name, str) else None
    path = f"/{kind.path}" if kind else ""
    folder = "" if thing is ResourceType.MESSAGE else "/Operations"
    return f"{path}{folder}/{event['subject']}"


def _is_sequence(value: object) -> bool:
    return (
        isinstance(value, str)
        and _SEQUENCE_DIGITS <= len(value) <= _LONGEST_SEQUENCE
        and value.isascii()
        and value.isdigit()
        and int(value) > 0
    )


_IDENTITY: Final[Mapping[str, Check]] = {
    "id": (lambda value: is_name(value) and "." not in value, "text without a dot"),
    "source": (lambda value: isinstance(value, str) and bool(value), "text"),
    "type": (lambda value: is_name(value) and value.startswith(_FAMILIES), "a type of event"),
    "subject": (is_name, "an id"),
    "sequence": (_is_sequence, "text of ten digits or more, from 1"),
}
_ENVELOPE: Final[Mapping[str, Check]] = {
    "specversion": (lambda value: value == "1.0", '"1.0"'),
    "time": (is_instant, "an RFC 3339 instant"),
    "datacontenttype": (lambda value: value == "application/json", '"application/json"'),
    "data": (is_object, "an object"),
}
_OBJECT: Final[Check] = (is_object, "an object")
_DATA: Final[Mapping[str, Check]] = {
    "kind": (is_name, "text"),
    "previousStatus": (or_null(is_name), "text or null"),
    "delta": (is_delta, "an object of integers other than 0"),
    "observedAt": (or_null(is_instant), "an RFC 3339 instant or null"),
    "final": (lambda value: isinstance(value, bool), "true or false"),
    "labels": (is_object_of_texts, "an object of texts"),
    "reason": (or_null(is_name), "text or null"),
}
_SNAPSHOT: Final[Mapping[str, Check]] = {
    "status": (is_name, "text"),
    "stats": (is_object, "an object"),
}
