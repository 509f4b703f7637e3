"""Decoded answers of the API: operations, messages, pages of them. Pure.

A model keeps the document that it was made from (`raw`), unknown members included. A document
without the expected shape raises `Nonsensical`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, cast

from poller.comms.decoding import (
    LARGEST_COUNTER,
    JsonObject,
    Nonsensical,
    decode_each,
    next_token,
    read_id,
    read_list,
    read_object,
    read_text,
    show,
)
from poller.comms.kinds import KindSpec
from poller.text import parse_instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A snapshot of one operation as the API gave it.

    `counters` holds every integer from 0 to 10¹² under `stats`, documented or not, and 0 for a
    documented one that is null. `created_at` and `updated_at` are None where they are absent or
    unreadable.
    """

    id: str
    status: str
    counters: Mapping[str, int]
    created_at: datetime | None
    updated_at: datetime | None
    raw: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationPage:
    """One page of a list of operations.

    `problems` says what was wrong with the items that could not be decoded: one bad item does not
    affect the other 999. `next_token` is None on the last page.
    """

    operations: Sequence[Operation]
    problems: Sequence[str]
    next_token: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorPage:
    """One page of an operation's errors, each as the API gave it: their shape is not documented."""

    errors: Sequence[JsonObject]
    next_token: str | None


def decode_operation(
    document: object, *, kind: KindSpec, expected_id: str | None = None
) -> Operation:
    """Make an `Operation` of a decoded JSON document.

    :raises Nonsensical: where it is not an object, it has no id or not `expected_id`,
        it has no status, `stats` is missing or null, or a counter of `kind` is neither an
        integer ≥ 0 nor null.
    """
    members = read_object(document, "the answer")
    return Operation(
        id=read_id(members, expected_id),
        status=read_text(members, "status"),
        counters=_counters(read_object(members.get("stats"), "stats"), kind),
        created_at=parse_instant(members.get("createdAt")),
        updated_at=parse_instant(members.get("updatedAt")),
        raw=members,
    )


def decode_page(document: object, *, kind: KindSpec) -> OperationPage:
    """Make an `OperationPage` of a decoded JSON document.

    :raises Nonsensical: where there is no list under `operations` or the next token is no text.
    """
    members = read_object(document, "the answer")
    operations, problems = decode_each(
        read_list(members, "operations", "data"), lambda item: decode_operation(item, kind=kind)
    )
    return OperationPage(operations=operations, problems=problems, next_token=next_token(members))


def decode_error_page(document: object) -> ErrorPage:
    """Make an `ErrorPage` of a decoded JSON document; items that are not objects are left out.

    :raises Nonsensical: where there is no list under `errors` or the next token is no text.
    """
    members = read_object(document, "the answer")
    listed = read_list(members, "errors")
    errors = [cast("JsonObject", item) for item in listed if type(item) is dict]
    return ErrorPage(errors=errors, next_token=next_token(members))


def _counters(stats: JsonObject, kind: KindSpec) -> dict[str, int]:
    counters: dict[str, int] = {}
    for name, value in stats.items():
        # By type: True is an int in Python, but not in JSON.
        if type(value) is int and 0 <= value <= LARGEST_COUNTER:
            counters[name] = value
        elif name not in kind.counters:
            continue
        elif value is None:
            counters[name] = 0  # the column is there, and may count later
        else:
            raise Nonsensical(f"stats.{name} is {show(value)}, not an integer from 0 to 10¹²")
    return counters


# The names under which messages are listed where a list does not use one of its kind's own.
_ITEMS: Final = ("messages", "data")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A snapshot of one message as the API gave it.

    `counters` are computed: `attempts` is how many attempts it lists, and each status in lower
    case how many of them have it; empty where it lists none, as in a page. `scheduled_for`,
    `created_at` and `updated_at` are None where they are absent or unreadable.
    """

    id: str
    status: str
    counters: Mapping[str, int]
    scheduled_for: datetime | None
    created_at: datetime | None
    updated_at: datetime | None
    raw: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagePage:
    """One page of a list of messages; `problems` and `next_token` as in `OperationPage`."""

    messages: Sequence[Message]
    problems: Sequence[str]
    next_token: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptPage:
    """One page of the receipts of a group message: a status for each recipient.

    `problems` and `next_token` as in `OperationPage`.
    """

    statuses: Sequence[str]
    problems: Sequence[str]
    next_token: str | None


def decode_message(document: object, *, expected_id: str | None = None) -> Message:
    """Make a `Message` of a decoded JSON document.

    :raises Nonsensical: where it is not an object, has no status, or has no id or not
        `expected_id`.
    """
    members = read_object(document, "the answer")
    return Message(
        id=read_id(members, expected_id),
        status=read_text(members, "status"),
        counters=_count_attempts(members.get("attempts")),
        scheduled_for=parse_instant(members.get("scheduledFor")),
        created_at=parse_instant(members.get("createdAt")),
        updated_at=parse_instant(members.get("updatedAt")),
        raw=members,
    )


def decode_message_page(document: object, *, kind: KindSpec) -> MessagePage:
    """Make a `MessagePage` of a decoded JSON document.

    The vendor's documents disagree on the name of the list, so any name that they use is accepted.

    :raises Nonsensical: where there is no list under any of them, or the next token is no text.
    """
    members = read_object(document, "the answer")
    listed = read_list(members, *kind.items, *_ITEMS)
    messages, problems = decode_each(listed, decode_message)
    return MessagePage(messages=messages, problems=problems, next_token=next_token(members))


def decode_receipt_page(document: object) -> ReceiptPage:
    """Make a `ReceiptPage` of a decoded JSON document.

    :raises Nonsensical: where there is no list under `receipts` or the next token is no text.
    """
    members = read_object(document, "the answer")
    statuses, problems = decode_each(
        read_list(members, "receipts"),
        lambda item: read_text(read_object(item, "a receipt"), "status"),
    )
    return ReceiptPage(statuses=statuses, problems=problems, next_token=next_token(members))


def _count_attempts(attempts: object) -> dict[str, int]:
    """Count attempts; one without a readable status counts under `attempts` only."""
    if not isinstance(attempts, list):
        return {}
    statuses: Counter[str] = Counter()
    for attempt in attempts:
        try:
            status = read_text(read_object(attempt, "an attempt"), "status")
        except Nonsensical:
            continue
        statuses[status.lower()] += 1
    return {**statuses, "attempts": len(attempts)}
