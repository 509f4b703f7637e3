"""What the API answers, decoded: operations, pages of them, and messages.

Pure. A model keeps the document it was made of (`raw`), unknown members included, and refuses
what is not one with `Nonsensical`. Shapes are those of the vendor's reference; the tolerance is
ours, because fields and enum values may be added at any time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, cast

from poller.comms.kinds import Kind

__all__ = [
    "JsonObject",
    "Message",
    "Nonsensical",
    "Operation",
    "Page",
    "decode_message",
    "decode_operation",
    "decode_page",
    "parse_instant",
]

JsonObject = Mapping[str, Any]

_SHOWN: Final = 60


class Nonsensical(ValueError):
    """An answer that is JSON but not what was asked for; the message names the member."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A snapshot of one operation as the API gave it.

    `counters` holds every integer ≥ 0 under `stats`, documented or not. `created_at` and
    `updated_at` are None where they are absent or unreadable.
    """

    id: str
    status: str
    counters: Mapping[str, int]
    created_at: datetime | None
    updated_at: datetime | None
    raw: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A snapshot of one message as the API gave it."""

    id: str
    status: str
    created_at: datetime | None
    updated_at: datetime | None
    raw: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a list of operations.

    `problems` says what was wrong with the items that were none: one bad item does not spoil the
    other 999. `next_token` is None on the last page.
    """

    operations: Sequence[Operation]
    problems: Sequence[str]
    next_token: str | None


def parse_instant(value: object) -> datetime | None:
    """Read an RFC 3339 instant as UTC; None where it is absent, unreadable or has no offset."""
    if not isinstance(value, str) or len(value) > _SHOWN:
        return None
    try:
        instant = datetime.fromisoformat(value)
        return None if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def decode_operation(document: object, *, kind: Kind, expected_id: str | None = None) -> Operation:
    """Make an `Operation` of a decoded JSON document.

    :raises Nonsensical: where it is not an object, its id is none or another than `expected_id`,
        it has no status, `stats` is missing or null, or a counter of `kind` is neither an
        integer ≥ 0 nor null.
    """
    members = _object(document, "the answer")
    operation_id = _text(members, "id")
    if expected_id is not None and operation_id != expected_id:
        raise Nonsensical(f"id is {_show(operation_id)}, asked for {expected_id}")
    return Operation(
        id=operation_id,
        status=_text(members, "status"),
        counters=_counters(_object(members.get("stats"), "stats"), kind),
        created_at=parse_instant(members.get("createdAt")),
        updated_at=parse_instant(members.get("updatedAt")),
        raw=members,
    )


def decode_page(document: object, *, kind: Kind) -> Page:
    """Make a `Page` of a decoded JSON document.

    :raises Nonsensical: where there is no list under `operations` or the next token is no text.
    """
    members = _object(document, "the answer")
    items = members.get("operations")
    if not isinstance(items, list):
        raise Nonsensical(f"operations is {_show(items)}, not a list")
    operations: list[Operation] = []
    problems: list[str] = []
    for item in items:
        try:
            operations.append(decode_operation(item, kind=kind))
        except Nonsensical as problem:
            problems.append(str(problem))
    return Page(operations=operations, problems=problems, next_token=_next_token(members))


def decode_message(document: object, *, expected_id: str | None = None) -> Message:
    """Make a `Message` of a decoded JSON document.

    :raises Nonsensical: where it is not an object, has no status, or has another id.
    """
    members = _object(document, "the answer")
    message_id = _text(members, "id")
    if expected_id is not None and message_id != expected_id:
        raise Nonsensical(f"id is {_show(message_id)}, asked for {expected_id}")
    return Message(
        id=message_id,
        status=_text(members, "status"),
        created_at=parse_instant(members.get("createdAt")),
        updated_at=parse_instant(members.get("updatedAt")),
        raw=members,
    )


def _next_token(members: JsonObject) -> str | None:
    pagination = members.get("pagination")
    if pagination is None:
        return None
    token = _object(pagination, "pagination").get("next")
    if token is None or token == "":
        return None
    if not isinstance(token, str):
        raise Nonsensical(f"pagination.next is {_show(token)}, not text")
    return token


def _counters(stats: JsonObject, kind: Kind) -> dict[str, int]:
    counters: dict[str, int] = {}
    for name, value in stats.items():
        # bool is an int to Python and none to JSON
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            counters[name] = value
        elif name in kind.counters and value is not None:
            raise Nonsensical(f"stats.{name} is {_show(value)}, not an integer ≥ 0")
    return counters


def _object(value: object, name: str) -> JsonObject:
    if not isinstance(value, dict):
        raise Nonsensical(f"{name} is {_show(value)}, not an object")
    return cast("JsonObject", value)


def _text(members: JsonObject, name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str) or not value:
        raise Nonsensical(f"{name} is {_show(value)}, not text")
    return value


def _show(value: object) -> str:
    if value is None:
        return "missing or null"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"
