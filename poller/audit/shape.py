"""The shape of an event as tables of checks by hand: what the JSON Schema says, at a line's price.

Every fault is a sentence that names the member, shows what is there and says what should be.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from poller.comms.decoding import parse_instant
from poller.comms.kinds import KINDS
from poller.tracking.lifecycle import EventType
from poller.tracking.watch import ResourceType

_Check = tuple[Callable[[Any], bool], str]

KNOWN: Final[Mapping[str, EventType]] = {one.value: one for one in EventType}
"""The types whose shape is known here: the others carry what a later version says."""

_FAMILIES: Final = ("operation.", "message.")
_SEQUENCE_DIGITS: Final = 10
_LONGEST_SEQUENCE: Final = 18
_LONGEST_NAME: Final = 200
_SHOWN: Final = 60


def identity_faults(event: Mapping[str, Any]) -> Iterator[str]:
    """Check what an event cannot be put in its place without."""
    return _faults(event, _IDENTITY)


def envelope_faults(event: Mapping[str, Any]) -> Iterator[str]:
    """Check the other members around `data`; those of the identity are right already."""
    yield from _faults(event, _ENVELOPE)
    if event.get("partitionkey") != event["subject"]:
        yield f"partitionkey is {_found(event, 'partitionkey')}, not the subject"
    known = KNOWN.get(event["type"])
    if known is not None and not event["source"].endswith(
        place := _place(event, known.resource_type)
    ):
        yield f"source is {show(event['source'])}, does not end with {place}"


def data_faults(data: Mapping[str, Any], subject: str, thing: ResourceType) -> Iterator[str]:
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
    """Tell whether it is text that can be shown: short, without control characters."""
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
    """Say how the source of this event ends: with the path of its kind, where that is known."""
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
