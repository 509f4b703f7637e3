"""One line of a file of events, read by somebody who trusts nothing. Pure."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from poller.audit.shape import (
    KNOWN,
    data_faults,
    envelope_faults,
    identity_faults,
    is_name,
    show,
)
from poller.tracking.lifecycle import LIFECYCLES, EventType, Lifecycle, lifecycle_of
from poller.tracking.watch import ResourceType

_LARGEST_COUNTER: Final = 2**63 - 1
# What ends a watch for good whatever the settings say. The types that are in neither set are final
# unless the watch settles.
_ENDS: Final = frozenset(
    kind_of_event
    for lifecycle in LIFECYCLES.values()
    for kind_of_event in (
        lifecycle.settled,
        lifecycle.lost,
        *(lifecycle.events[status] for status in set(lifecycle.terminal) - lifecycle.lasting),
    )
)
_GOES_ON: Final = frozenset(
    kind_of_event
    for lifecycle in LIFECYCLES.values()
    for kind_of_event in (
        lifecycle.progress,
        lifecycle.changed,
        *(lifecycle.events[status] for status in set(lifecycle.events) - set(lifecycle.terminal)),
    )
) | {EventType.OPERATION_BREAKDOWN}
# read while it settles, a message goes on to be settled
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
class Told:
    """What an event tells of its operation; `counters` holds those above 0.

    `status` and `counters` are None where the event carries no snapshot.
    """

    previous_status: str | None
    status: str | None
    counters: Mapping[str, int] | None
    delta: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedEvent:
    """An event that can be put in its place.

    `scope` is the source without what kind and id add to it, `told` None where the data cannot be
    read, `digest` the same number for the same event.
    """

    id: str
    scope: str
    subject: str
    type: str
    sequence: int
    final: bool
    told: Told | None
    digest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a line holds, and everything that is wrong with it taken alone."""

    event: AuditedEvent | None = None
    subject: str | None = None
    unreadable: str | None = None
    misshapen: tuple[str, ...] = ()
    contradictions: tuple[str, ...] = ()


def read_event(text: bytes) -> Reading:
    """Read one line, without its end."""
    try:
        document = json.loads(text.decode("utf-8"), parse_constant=_refuse)
        digest = hash(json.dumps(document, sort_keys=True))
    except UnicodeDecodeError:
        return Reading(unreadable="not UTF-8")
    except (ValueError, RecursionError):
        return Reading(unreadable="not JSON")
    if not isinstance(document, dict):
        return Reading(unreadable="not a JSON object")
    nameless = tuple(identity_faults(document))
    if nameless:
        subject = document.get("subject")
        return Reading(subject=subject if is_name(subject) else None, misshapen=nameless)
    return _read(document, digest)


def _read(event: dict[str, Any], digest: int) -> Reading:
    subject, kind_of_event, data = event["subject"], event["type"], event.get("data")
    misshapen = tuple(envelope_faults(event))
    contradictions: tuple[str, ...] = ()
    told = None
    final = _IS_FINAL.get(kind_of_event, False)
    if isinstance(data, dict):
        # a flag that contradicts its type is one fault, and must not make an end
        final = _IS_FINAL.get(kind_of_event, data.get("final") is True)
        thing = (
            KNOWN[kind_of_event].resource_type if kind_of_event in KNOWN else ResourceType.OPERATION
        )
        wrong = tuple(data_faults(data, subject, thing))
        told = None if wrong else _told(data, thing)
        if kind_of_event in KNOWN:
            misshapen += wrong
            if told is not None:
                contradictions = tuple(_contradictions(EventType(kind_of_event), told, data))
    audited = AuditedEvent(
        id=event["id"],
        scope=_home(event["source"], subject),
        subject=subject,
        type=kind_of_event,
        sequence=int(event["sequence"]),
        final=final,
        told=told,
        digest=digest,
    )
    return Reading(
        event=audited, subject=subject, misshapen=misshapen, contradictions=contradictions
    )


def _told(data: Mapping[str, Any], thing: ResourceType) -> Told:
    shown = data[thing.value]
    stats = shown.get("stats")
    return Told(
        previous_status=data["previousStatus"],
        status=shown.get("status"),
        counters=None if stats is None else _counters(stats),
        delta=data["delta"],
    )


def _counters(stats: Mapping[str, object]) -> dict[str, int]:
    # by type: True is an int to Python, and none to JSON
    return {
        name: value
        for name, value in stats.items()
        if type(value) is int and 0 < value <= _LARGEST_COUNTER
    }


def _home(source: str, subject: str) -> str:
    """Leave out the kind, which a registration may mend, so that the sequence goes on."""
    above, _, name = source.rpartition("/")
    if name != subject:
        return source
    return above.removesuffix("/Operations").rpartition("/")[0]


def _contradictions(kind_of_event: EventType, told: Told, data: Mapping[str, Any]) -> Iterator[str]:
    """Say which members of one event cannot all be true."""
    final, reason = data["final"], data["reason"]
    lifecycle = lifecycle_of(kind_of_event.resource_type)
    if _IS_FINAL.get(kind_of_event, final) is not final:
        yield f"{kind_of_event} with data.final {show(final)}"
    if (reason is not None) is not (kind_of_event is lifecycle.lost):
        yield f"{kind_of_event} with data.reason {show(reason)}"
    if told.counters is None and told.delta:
        yield f"data.delta without data.{kind_of_event.resource_type}.stats"
    if not _fits(kind_of_event, lifecycle, told):
        yield f"{kind_of_event} from status {told.previous_status} to {told.status}"
    elif kind_of_event is lifecycle.progress and not told.delta:
        yield f"{kind_of_event} without data.delta"


def _fits(kind_of_event: EventType, lifecycle: Lifecycle, told: Told) -> bool:
    """Tell whether an event of that type can tell this step from status to status."""
    before, after = told.previous_status, told.status
    if kind_of_event is lifecycle.progress:
        return after is not None and before == after
    if kind_of_event is lifecycle.lost:
        return before not in lifecycle.terminal and after not in lifecycle.terminal
    if kind_of_event is EventType.OPERATION_BREAKDOWN:
        return before in lifecycle.terminal and after in {None, before}
    if kind_of_event is lifecycle.settled:
        return before in _SETTLES_FROM[kind_of_event.resource_type] and after in {None, before}
    return after is not None and before != after and lifecycle.event_type(after) is kind_of_event


def _refuse(constant: str) -> float:
    raise ValueError(constant)
