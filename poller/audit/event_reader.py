"""One line of a file of events, read without trusting it. Pure.

First the shape, as tables of checks: they are equivalent to the JSON Schema, at a fraction of its
cost. Then contradictions within one event. Every fault is a sentence that names the member, shows
its value and says what it should be.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from poller.comms.kinds import KINDS
from poller.text import parse_instant
from poller.tracking.lifecycle import LIFECYCLES, EventType, lifecycle_of
from poller.tracking.watch import ResourceType

_LARGEST_COUNTER: Final = 2**63 - 1
# These types end a watch whatever the settings are. Types that are in neither set are final unless
# the watch settles.
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
# a message that is read while it settles continues to settle
_EITHER: Final = frozenset({EventType.MESSAGE_READ})
_SETTLES_FROM: Final[Mapping[ResourceType, frozenset[str]]] = {
    ResourceType.OPERATION: frozenset({"COMPLETED"}),
    ResourceType.MESSAGE: frozenset({"DELIVERED", "READ", "GROUP"}),
}
_IS_FINAL: Final[Mapping[str, bool]] = {
    **dict.fromkeys(_GOES_ON, False),
    **dict.fromkeys(_ENDS - _EITHER, True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EventContent:
    """The snapshot in an event; `counters` holds those above 0.

    `status` and `counters` are None where the event carries no snapshot.
    """

    previous_status: str | None
    status: str | None
    counters: Mapping[str, int] | None
    delta: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedEvent:
    """An event with an identity, so that it can be checked against others.

    `scope` is the source without kind and id. `content` is None where the data cannot be read.
    Equal events have the same `digest`.
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
    """What a line holds, and everything that is wrong with the line by itself."""

    event: AuditedEvent | None = None
    subject: str | None = None
    unreadable: str | None = None
    misshapen: tuple[str, ...] = ()
    contradictions: tuple[str, ...] = ()


def read_line(text: bytes) -> LineReading:
    """Read one line, without its end."""
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
        # a flag that contradicts its type is one fault, and must not count as an end
        final = _IS_FINAL.get(event_type, data.get("final") is True)
        thing = _THINGS.get(event_type, ResourceType.OPERATION)
        wrong = tuple(_data_faults(data, subject, thing))
        content = None if wrong else _content(event_type, data, thing)
        if event_type in _THINGS:
            misshapen += wrong
            if content is not None:
                contradictions = tuple(_contradictions(EventType(event_type), thing, content, data))
    audited = AuditedEvent(
        id=event["id"],
        scope=_home(event["source"], subject),
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


def _content(event_type: str, data: Mapping[str, Any], thing: ResourceType) -> EventContent:
    shown = data[thing.value]
    stats = shown.get("stats")
    # it reports no change of status: the event after it does
    is_alert = event_type == EventType.OPERATION_ALERT
    return EventContent(
        previous_status=data["previousStatus"],
        status=data["previousStatus"] if is_alert else shown.get("status"),
        counters=None if stats is None else _counters(stats),
        delta=data["delta"],
    )


def _counters(stats: Mapping[str, object]) -> dict[str, int]:
    # by type: True is an int in Python, but not in JSON
    return {
        name: value
        for name, value in stats.items()
        if type(value) is int and 0 < value <= _LARGEST_COUNTER
    }


def _home(source: str, subject: str) -> str:
    """Leave out the kind, which a registration may correct while the sequence continues."""
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


_Check = tuple[Callable[[Any], bool], str]

_THINGS: Final[Mapping[str, ResourceType]] = {
    one.value: one.resource_type for one in EventType if one.resource_type is not None
}
"""What the types with a known shape are about; later versions may add others."""

_FAMILIES: Final = ("operation.", "message.", "group.")
_SEQUENCE_DIGITS: Final = 10
_LONGEST_SEQUENCE: Final = 18
_LONGEST_NAME: Final = 200
_SHOWN: Final = 60


def _identity_faults(event: Mapping[str, Any]) -> Iterator[str]:
    """Check the members that identify an event."""
    return _faults(event, _IDENTITY)


def _envelope_faults(event: Mapping[str, Any]) -> Iterator[str]:
    """Check the other members around `data`; those of the identity are correct already."""
    yield from _faults(event, _ENVELOPE)
    if event.get("partitionkey") != event["subject"]:
        yield f"partitionkey is {_found(event, 'partitionkey')}, not the subject"
    thing = _THINGS.get(event["type"])
    if thing is not None and not event["source"].endswith(place := _place(event, thing)):
        yield f"source is {show(event['source'])}, does not end with {place}"


def _data_faults(data: Mapping[str, Any], subject: str, thing: ResourceType) -> Iterator[str]:
    """Check the `data` of an event about such a thing."""
    yield from (f"data.{fault}" for fault in _faults(data, {thing.value: _OBJECT, **_DATA}))
    shown = data.get(thing.value)
    if not isinstance(shown, dict):
        return
    if shown.get("id") != subject:
        yield f"data.{thing}.id is {_found(shown, 'id')}, not the subject"
    if "status" in shown or "stats" in shown:
        yield from (f"data.{thing}.{fault}" for fault in _faults(shown, _SNAPSHOT))


def is_name(value: object) -> bool:
    """Return whether it is text that can be printed: short, without control characters."""
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME and value.isprintable()


def show(value: object) -> str:
    """Write a value as a person can read it, on a terminal too."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _faults(members: Mapping[str, Any], checks: Mapping[str, _Check]) -> Iterator[str]:
    for name, (is_right, wanted) in checks.items():
        if name not in members or not is_right(members[name]):
            yield f"{name} is {_found(members, name)}, not {wanted}"


def _found(members: Mapping[str, Any], name: str) -> str:
    return show(members[name]) if name in members else "missing"


def _place(event: Mapping[str, Any], thing: ResourceType) -> str:
    """Return how the source of this event must end: with the path of its kind, where known."""
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


def _is_delta(value: object) -> bool:
    return isinstance(value, dict) and all(type(one) is int and one for one in value.values())


def _is_object_of_texts(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(one, str) for one in value.values())


def _is_instant(value: object) -> bool:
    return parse_instant(value) is not None


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _or_null(check: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or check(value)


_IDENTITY: Final[Mapping[str, _Check]] = {
    "id": (lambda value: is_name(value) and "." not in value, "text without a dot"),
    "source": (lambda value: isinstance(value, str) and bool(value), "text"),
    "type": (lambda value: is_name(value) and value.startswith(_FAMILIES), "a type of event"),
    "subject": (is_name, "an id"),
    "sequence": (_is_sequence, "text of ten digits or more, from 1"),
}
_ENVELOPE: Final[Mapping[str, _Check]] = {
    "specversion": (lambda value: value == "1.0", '"1.0"'),
    "time": (_is_instant, "an RFC 3339 instant"),
    "datacontenttype": (lambda value: value == "application/json", '"application/json"'),
    "data": (_is_object, "an object"),
}
_OBJECT: Final[_Check] = (_is_object, "an object")
_DATA: Final[Mapping[str, _Check]] = {
    "kind": (is_name, "text"),
    "previousStatus": (_or_null(is_name), "text or null"),
    "delta": (_is_delta, "an object of integers other than 0"),
    "observedAt": (_or_null(_is_instant), "an RFC 3339 instant or null"),
    "final": (lambda value: isinstance(value, bool), "true or false"),
    "labels": (_is_object_of_texts, "an object of texts"),
    "reason": (_or_null(is_name), "text or null"),
}
_SNAPSHOT: Final[Mapping[str, _Check]] = {
    "status": (is_name, "text"),
    "stats": (_is_object, "an object"),
}
