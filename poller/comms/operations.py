"""Operations as the API answers them: one, a page of them, and a page of one's errors. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from poller.comms.kinds import KindSpec
from poller.comms.reading import (
    LARGEST_COUNTER,
    JsonObject,
    Nonsensical,
    decode_each,
    next_token,
    parse_instant,
    read_id,
    read_list,
    read_object,
    read_text,
    show,
)

__all__ = [
    "ErrorPage",
    "Operation",
    "OperationPage",
    "decode_error_page",
    "decode_operation",
    "decode_page",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A snapshot of one operation as the API gave it.

    `counters` holds every integer from 0 to 2⁶³-1 under `stats`, documented or not, and 0 for a
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

    `problems` says what was wrong with the items that were none: one bad item does not spoil the
    other 999. `next_token` is None on the last page.
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

    :raises Nonsensical: where it is not an object, its id is none or another than `expected_id`,
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
    """Make a `OperationPage` of a decoded JSON document.

    :raises Nonsensical: where there is no list under `operations` or the next token is no text.
    """
    members = read_object(document, "the answer")
    operations, problems = decode_each(
        read_list(members, "operations", "data"), lambda item: decode_operation(item, kind=kind)
    )
    return OperationPage(operations=operations, problems=problems, next_token=next_token(members))


def decode_error_page(document: object) -> ErrorPage:
    """Make an `ErrorPage` of a decoded JSON document; what is no object in the list is left out.

    :raises Nonsensical: where there is no list under `errors` or the next token is no text.
    """
    members = read_object(document, "the answer")
    listed = read_list(members, "errors")
    errors = [cast("JsonObject", item) for item in listed if type(item) is dict]
    return ErrorPage(errors=errors, next_token=next_token(members))


def _counters(stats: JsonObject, kind: KindSpec) -> dict[str, int]:
    counters: dict[str, int] = {}
    for name, value in stats.items():
        # By type: True is an int to Python, and none to JSON.
        if type(value) is int and 0 <= value <= LARGEST_COUNTER:
            counters[name] = value
        elif name not in kind.counters:
            continue
        elif value is None:
            counters[name] = 0  # the column is there, and may count later
        else:
            raise Nonsensical(f"stats.{name} is {show(value)}, not an integer from 0 to 2⁶³-1")
    return counters
