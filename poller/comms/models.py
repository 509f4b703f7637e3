"""What the API answers, decoded: operations, pages of them, and messages.

Pure. A model keeps the document it was made of (`raw`), unknown members included, and refuses
what is not one with `Nonsensical`. Shapes are those of the vendor's reference; the tolerance is
ours, because fields and enum values may be added at any time.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar, cast

from poller.comms.kinds import Kind

__all__ = [
    "ErrorPage",
    "JsonObject",
    "Message",
    "MessagePage",
    "Nonsensical",
    "Operation",
    "Page",
    "decode_error_page",
    "decode_message",
    "decode_message_page",
    "decode_operation",
    "decode_page",
    "parse_instant",
]

JsonObject = Mapping[str, Any]
Decoded = TypeVar("Decoded")

# RFC 3339, section 5.6: stricter than what Python reads as ISO 8601.
_INSTANT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?"
    r"(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_SHOWN: Final = 60
_LONGEST_NAME: Final = 200
_LONGEST_TOKEN: Final = 4096
# The largest that databases and other readers of JSON agree on as an integer.
_LARGEST_COUNTER: Final = 2**63 - 1


class Nonsensical(ValueError):
    """An answer that is JSON but not what was asked for; the message names the member."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A snapshot of one operation as the API gave it.

    `counters` holds every integer from 0 to 2⁶³-1 under `stats`, documented or not. `created_at`
    and `updated_at` are None where they are absent or unreadable.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagePage:
    """One page of a list of messages; `problems` and `next_token` as in `Page`."""

    messages: Sequence[Message]
    problems: Sequence[str]
    next_token: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorPage:
    """One page of an operation's errors, each as the API gave it: their shape is not documented."""

    errors: Sequence[JsonObject]
    next_token: str | None


def parse_instant(value: object) -> datetime | None:
    """Read an RFC 3339 instant as UTC; None where it is absent, unreadable or has no offset."""
    if not isinstance(value, str) or len(value) > _SHOWN or not _INSTANT.fullmatch(value):
        return None
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
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
    operations, problems = _decode_each(
        _list(members, "operations"), lambda item: decode_operation(item, kind=kind)
    )
    return Page(operations=operations, problems=problems, next_token=_next_token(members))


def decode_message(document: object, *, expected_id: str | None = None) -> Message:
    """Make a `Message` of a decoded JSON document.

    :raises Nonsensical: where it is not an object, has no status, or its id is none or another
        than `expected_id`.
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


def decode_message_page(document: object) -> MessagePage:
    """Make a `MessagePage` of a decoded JSON document.

    :raises Nonsensical: where there is no list under `messages` or the next token is no text.
    """
    members = _object(document, "the answer")
    messages, problems = _decode_each(_list(members, "messages"), decode_message)
    return MessagePage(messages=messages, problems=problems, next_token=_next_token(members))


def decode_error_page(document: object) -> ErrorPage:
    """Make an `ErrorPage` of a decoded JSON document; what is no object in the list is left out.

    :raises Nonsensical: where there is no list under `errors` or the next token is no text.
    """
    members = _object(document, "the answer")
    errors = [cast("JsonObject", item) for item in _list(members, "errors") if type(item) is dict]
    return ErrorPage(errors=errors, next_token=_next_token(members))


def _decode_each(
    items: Sequence[object], decode: Callable[[object], Decoded]
) -> tuple[list[Decoded], list[str]]:
    decoded: list[Decoded] = []
    problems: list[str] = []
    for item in items:
        try:
            decoded.append(decode(item))
        except Nonsensical as problem:
            problems.append(str(problem))
    return decoded, problems


def _next_token(members: JsonObject) -> str | None:
    pagination = members.get("pagination")
    if pagination is None:
        return None
    token = _object(pagination, "pagination").get("next")
    if token is None or token == "":
        return None
    if not _is_plain(token, _LONGEST_TOKEN):
        raise Nonsensical(f"pagination.next is {_show(token)}, not a token")
    return cast("str", token)


def _counters(stats: JsonObject, kind: Kind) -> dict[str, int]:
    counters: dict[str, int] = {}
    for name, value in stats.items():
        # By type: True is an int to Python, and none to JSON.
        if type(value) is int and 0 <= value <= _LARGEST_COUNTER:
            counters[name] = value
        elif name in kind.counters and value is not None:
            raise Nonsensical(f"stats.{name} is {_show(value)}, not an integer from 0 to 2⁶³-1")
    return counters


def _object(value: object, name: str) -> JsonObject:
    if not isinstance(value, dict):
        raise Nonsensical(f"{name} is {_show(value)}, not an object")
    return cast("JsonObject", value)


def _text(members: JsonObject, name: str) -> str:
    value = members.get(name)
    if not _is_plain(value, _LONGEST_NAME):
        raise Nonsensical(f"{name} is {_show(value)}, not text of 1 to {_LONGEST_NAME} characters")
    return cast("str", value)


def _list(members: JsonObject, name: str) -> Sequence[object]:
    value = members.get(name)
    if not isinstance(value, list):
        raise Nonsensical(f"{name} is {_show(value)}, not a list")
    return value


def _is_plain(value: object, longest: int) -> bool:
    # What goes into URLs, logs and databases holds no control character and no lone surrogate.
    return isinstance(value, str) and 0 < len(value) <= longest and value.isprintable()


def _show(value: object) -> str:
    if value is None:
        return "missing or null"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and abs(value) > _LARGEST_COUNTER:
        return "a number beyond 64 bits"
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"
