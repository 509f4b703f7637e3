"""Hints: pushes of the vendor, which show where a poll may find a change. Pure.

A hint is never believed: it brings the poll of something known forward, and only the API's answer
makes an event. So a hint that is lost, doubled, late or wrong changes nothing but that time.
`pacing.take_hint` decides when it brings a poll forward.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from poller.comms.ids import OPERATION_ID, is_message_id
from poller.tracking.watch import HintStrength

HINT_TYPES: Final = tuple(
    f"com.twilio.comms-api.{name}"
    for name in (
        *("operation.scheduled", "operation.processing", "operation.completed"),
        *("message.queued", "message.sent", "message.delivered", "message.undelivered"),
        *("message.failed", "message.read", "message.inbound"),
    )
)
"""The events that the vendor documents; others of the same two families are read as well."""

_OPERATIONS: Final = "com.twilio.comms-api.operation."
_MESSAGES: Final = "com.twilio.comms-api.message."
_LONGEST_EVENT_ID: Final = 256


class HintEffect(StrEnum):
    """The effect of one hint, for metrics."""

    WOKEN = "woken"
    """The poll comes earlier, or is repeated where one was under way."""
    UNCHANGED = "unchanged"
    """The poll is not earlier: it is due anyway, waits after failures, or the watch has ended."""
    DISCOVERED = "discovered"
    UNKNOWN = "unknown"
    DROPPED = "dropped"
    """There were too many hints."""
    REPEATED = "repeated"
    """The same event has come before."""
    IGNORED = "ignored"
    """An event of a type that is not about operations or messages."""
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True, kw_only=True)
class HintEvent:
    """One event of a batch: `wakes` has the ids that it is about; they may be unknown here."""

    id: str
    wakes: Mapping[str, HintStrength]


@dataclass(frozen=True, slots=True, kw_only=True)
class HintBatch:
    """The usable events of one push; `ignored` and `malformed` count the others."""

    events: Sequence[HintEvent]
    ignored: int = 0
    malformed: int = 0


class BadBatch(ValueError):
    """No event of a push can be read; the message says why."""


def read_batch(body: bytes) -> HintBatch:
    """Read a batch of CloudEvents, or a single one, in JSON.

    An event that cannot be read does not affect the others.

    :raises BadBatch: where the body is no such batch, or none of its events can be read.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise BadBatch("not JSON") from None
    items = document if isinstance(document, list) else [document]
    events: list[HintEvent] = []
    ignored = malformed = 0
    for item in items:
        if not isinstance(item, dict) or not _is_named(item):
            malformed += 1
        elif not item["type"].startswith((_OPERATIONS, _MESSAGES)):
            ignored += 1
        elif wakes := _wakes(item["type"], item.get("data")):
            events.append(HintEvent(id=f"{item.get('source', '')} {item['id']}", wakes=wakes))
        else:
            malformed += 1
    if malformed and not events and not ignored:
        raise BadBatch("no CloudEvent with an id, a type and the id of an operation or a message")
    return HintBatch(events=events, ignored=ignored, malformed=malformed)


def _is_named(item: Mapping[str, Any]) -> bool:
    event_id, kind, source = item.get("id"), item.get("type"), item.get("source", "")
    return (
        isinstance(kind, str)
        and isinstance(source, str)
        and isinstance(event_id, str)
        and 0 < len(event_id) <= _LONGEST_EVENT_ID
        and len(source) <= _LONGEST_EVENT_ID
    )


def _wakes(kind: str, data: object) -> dict[str, HintStrength]:
    if not isinstance(data, dict):
        return {}
    wakes: dict[str, HintStrength] = {}
    operation, message = data.get("operation_id"), data.get("message_id")
    is_about_operation = kind.startswith(_OPERATIONS)
    if isinstance(operation, str) and OPERATION_ID.fullmatch(operation):
        wakes[operation] = HintStrength.DIRECT if is_about_operation else HintStrength.INDIRECT
    if not is_about_operation and isinstance(message, str) and is_message_id(message):
        wakes[message] = HintStrength.DIRECT
    return wakes


def stronger(one: HintStrength | None, other: HintStrength) -> HintStrength:
    """Return the stronger of two hints about the same id; the first may be missing."""
    return HintStrength.DIRECT if HintStrength.DIRECT in {one, other} else HintStrength.INDIRECT
