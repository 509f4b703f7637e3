"""What every document of the API is read with: members by type, instants, lists, pages. Pure.

Shapes are those of the vendor's reference; the tolerance is ours, because fields and enum values
may be added at any time.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar, cast

from poller.contacts import scrub

__all__ = [
    "LARGEST_COUNTER",
    "JsonObject",
    "Nonsensical",
    "decode_each",
    "is_url",
    "next_token",
    "parse_instant",
    "read_id",
    "read_list",
    "read_object",
    "read_text",
    "show",
]

JsonObject = Mapping[str, Any]
Decoded = TypeVar("Decoded")

LARGEST_COUNTER: Final = 2**63 - 1
"""The largest that databases and other readers of JSON agree on as an integer."""

# RFC 3339, section 5.6: stricter than what Python reads as ISO 8601.
_INSTANT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?"
    r"(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_SHOWN: Final = 60
_LONGEST_NAME: Final = 200
_LONGEST_TOKEN: Final = 4096
_NEXT: Final = (("pagination", "next"), ("pagination", "nextPageToken"), ("meta", "next_page_url"))


class Nonsensical(ValueError):
    """An answer that is JSON but not what was asked for; the message names the member."""


def parse_instant(value: object) -> datetime | None:
    """Read an RFC 3339 instant as UTC; None where it is absent, unreadable or has no offset."""
    if not isinstance(value, str) or len(value) > _SHOWN or not _INSTANT.fullmatch(value):
        return None
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def read_object(value: object, name: str) -> JsonObject:
    """Return `value`, which `name` says what it is.

    :raises Nonsensical: where it is no object.
    """
    if not isinstance(value, dict):
        raise Nonsensical(f"{name} is {show(value)}, not an object")
    return cast("JsonObject", value)


def read_list(members: JsonObject, *names: str) -> Sequence[object]:
    """Return the list under the first of `names` that is there.

    :raises Nonsensical: where there is none; the message has the first name.
    """
    value = next((members[name] for name in names if name in members), None)
    if not isinstance(value, list):
        raise Nonsensical(f"{names[0]} is {show(value)}, not a list")
    return value


def read_text(members: JsonObject, name: str) -> str:
    """Return the text under `name`: 1 to 200 characters, all of them printable.

    :raises Nonsensical: where there is none.
    """
    value = members.get(name)
    if not _is_plain(value, _LONGEST_NAME):
        raise Nonsensical(f"{name} is {show(value)}, not text of 1 to {_LONGEST_NAME} characters")
    return cast("str", value)


def read_id(members: JsonObject, expected: str | None) -> str:
    """Return the text under `id`.

    :raises Nonsensical: where there is none, or another than `expected`.
    """
    found = read_text(members, "id")
    if expected is not None and found != expected:
        raise Nonsensical(f"id is {show(found)}, asked for {expected}")
    return found


def next_token(members: JsonObject) -> str | None:
    """Return the token or the absolute URL of the next page; None where this is the last page.

    The reference has `pagination.next`; `pagination.nextPageToken` and `meta.next_page_url` have
    been seen.

    :raises Nonsensical: where one of them holds something else.
    """
    for place, name in _NEXT:
        where = members.get(place)
        token = None if where is None else read_object(where, place).get(name)
        if token is None or token == "":
            continue
        if not _is_plain(token, _LONGEST_TOKEN):
            raise Nonsensical(f"{place}.{name} is {show(token)}, not a token")
        return cast("str", token)
    return None


def is_url(token: str) -> bool:
    """Tell whether the next page is named by its URL in place of a token."""
    return token[:8].lower().startswith(("http://", "https://"))


def decode_each(
    items: Sequence[object], decode: Callable[[object], Decoded]
) -> tuple[list[Decoded], list[str]]:
    """Return what `decode` makes of the items, and what was wrong with those that it refused."""
    decoded: list[Decoded] = []
    problems: list[str] = []
    for item in items:
        try:
            decoded.append(decode(item))
        except Nonsensical as problem:
            problems.append(str(problem))
    return decoded, problems


def show(value: object) -> str:
    """Return a value as an error shows it: short, without addresses, whatever it is."""
    if value is None:
        return "missing or null"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and abs(value) > LARGEST_COUNTER:
        return "a number beyond 64 bits"
    shown = scrub(repr(value))
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"


def _is_plain(value: object, longest: int) -> bool:
    # What goes into URLs, logs and databases holds no control character and no lone surrogate.
    return isinstance(value, str) and 0 < len(value) <= longest and value.isprintable()
