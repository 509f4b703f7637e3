"""Messages as the API answers them: one, a page of them, and a page of one's receipts. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from poller.comms.kinds import KindSpec
from poller.comms.reading import (
    JsonObject,
    Nonsensical,
    decode_each,
    next_token,
    parse_instant,
    read_id,
    read_list,
    read_object,
    read_text,
)

__all__ = [
    "Message",
    "MessagePage",
    "ReceiptPage",
    "decode_message",
    "decode_message_page",
    "decode_receipt_page",
]

# The names under which messages are listed where a list does not use one of its kind's own.
_ITEMS: Final = ("messages", "data")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A snapshot of one message as the API gave it.

    `counters` are ours: under `attempts` how many attempts it lists, and under each status in
    lower case how many of them have it; empty where it lists none, as in a page. `scheduled_for`,
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
    """One page of a list of messages; `problems` and `next_token` as in `Page`."""

    messages: Sequence[Message]
    problems: Sequence[str]
    next_token: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptPage:
    """One page of how a group message fared: a status for each recipient.

    `problems` and `next_token` as in `Page`.
    """

    statuses: Sequence[str]
    problems: Sequence[str]
    next_token: str | None


def decode_message(document: object, *, expected_id: str | None = None) -> Message:
    """Make a `Message` of a decoded JSON document.

    :raises Nonsensical: where it is not an object, has no status, or its id is none or another
        than `expected_id`.
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
    """Count attempts; one without a readable status counts as an attempt and no more."""
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
