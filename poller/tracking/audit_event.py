"""One line of a file of events, read by somebody who trusts nothing. Pure."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from poller.tracking.audit_shape import (
    OF_OPERATIONS,
    data_faults,
    envelope_faults,
    identity_faults,
    is_name,
    show,
)
from poller.tracking.lifecycle import TERMINAL, EventType, event_type

__all__ = ["AuditedEvent", "Reading", "Told", "read_event"]

_LARGEST_COUNTER: Final = 2**63 - 1
# operation.completed is absent: it is final unless the operation settles
_IS_FINAL: Final[Mapping[str, bool]] = {
    EventType.SCHEDULED: False,
    EventType.PROCESSING: False,
    EventType.PROGRESS: False,
    EventType.CHANGED: False,
    EventType.CANCELED: True,
    EventType.SETTLED: True,
    EventType.LOST: True,
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

    `home` is the source without what kind and id add to it, `told` None where the data cannot be
    read, `digest` the same number for the same event.
    """

    id: str
    home: str
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
        wrong = tuple(data_faults(data, subject))
        told = None if wrong else _told(data)
        if kind_of_event in OF_OPERATIONS:
            misshapen += wrong
            if told is not None:
                contradictions = tuple(_contradictions(EventType(kind_of_event), told, data))
    audited = AuditedEvent(
        id=event["id"],
        home=_home(event["source"], subject),
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


def _told(data: Mapping[str, Any]) -> Told:
    operation = data["operation"]
    stats = operation.get("stats")
    return Told(
        previous_status=data["previousStatus"],
        status=operation.get("status"),
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
    end = f"/Operations/{subject}"
    if not source.endswith(end):
        return source
    return source.removesuffix(end).rpartition("/")[0]


def _contradictions(kind_of_event: EventType, told: Told, data: Mapping[str, Any]) -> Iterator[str]:
    """Say which members of one event cannot all be true."""
    final, reason = data["final"], data["reason"]
    if _IS_FINAL.get(kind_of_event, final) is not final:
        yield f"{kind_of_event} with data.final {show(final)}"
    if (reason is not None) is not (kind_of_event is EventType.LOST):
        yield f"{kind_of_event} with data.reason {show(reason)}"
    if told.counters is None and told.delta:
        yield "data.delta without data.operation.stats"
    if not _fits(kind_of_event, told):
        yield f"{kind_of_event} from status {told.previous_status} to {told.status}"
    elif kind_of_event is EventType.PROGRESS and not told.delta:
        yield f"{kind_of_event} without data.delta"


def _fits(kind_of_event: EventType, told: Told) -> bool:
    """Tell whether an event of that type can tell this step from status to status."""
    before, after = told.previous_status, told.status
    match kind_of_event:
        case EventType.PROGRESS:
            return after is not None and before == after
        case EventType.SETTLED:
            return before == "COMPLETED" and after in {None, "COMPLETED"}
        case EventType.LOST:
            return before not in TERMINAL and after not in TERMINAL
        case _:
            return after is not None and before != after and event_type(after) is kind_of_event


def _refuse(constant: str) -> float:
    raise ValueError(constant)
