"""Which parts of a message may be stored and emitted: an allow-list. Pure.

Texts, media and every member that is not listed are left out; addresses are included only where the
settings ask for them. The input is any JSON that the API sent: wrong types are left out.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import islice
from typing import Any, Final

from poller.contacts import has_contact, mask, scrub
from poller.text import parse_instant

_MOST_ATTEMPTS: Final = 50
_MOST_RECIPIENTS: Final = 50
_MOST_RECIPIENTS_OF_ATTEMPT: Final = 5
_MOST_RELATED: Final = 10
_MOST_TAGS: Final = 10
_LONGEST_NAME: Final = 64
_LONGEST_TAG: Final = 256
_LONGEST_URL: Final = 300
_LONGEST_ADDRESS: Final = 320
_DIGITS_OF_A_NUMBER: Final = 7
# The vendor's codes have five digits; seven could be a phone number.
_LARGEST_CODE: Final = 999_999

_Reader = Callable[[Any, "Addresses"], object]
# The result for a wrong type, as distinct from a null.
_NOTHING: Final = object()

# Enum values, ids, codes: a word without blanks, never a sentence and never a number.
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_CODE: Final = re.compile(r"[0-9]{1,6}")


class Addresses(StrEnum):
    """How addresses are shown."""

    HIDDEN = "hidden"
    MASKED = "masked"
    FULL = "full"


def public_message(raw: Mapping[str, Any], addresses: Addresses) -> dict[str, Any]:
    """Return the form of a message document that may be stored and emitted.

    At most 50 recipients and the first 50 attempts, with 5 recipients each; the error's sentence
    is scrubbed, and a tag with an address in it is left out.
    """
    return _members(raw, addresses, _OF_MESSAGE)


def public_error(raw: object) -> dict[str, Any] | None:
    """Return `{"code": int | text | null, "message": …, "infoUrl": …}`; None for no object."""
    if not isinstance(raw, dict):
        return None
    message = raw.get("message")
    return {
        "code": public_code(raw.get("code")),
        "message": (scrub(message) or None) if isinstance(message, str) else None,
        "infoUrl": public_url(raw.get("infoUrl")),
    }


def public_code(value: object) -> int | str | None:
    """Return the code of an error: a number of up to six digits, also as text, or a word."""
    if type(value) is int:
        return value if 0 <= value <= _LARGEST_CODE else None
    if isinstance(value, str) and _CODE.fullmatch(value):
        return int(value)
    return public_name(value)


def public_name(value: object) -> str | None:
    """Return an enum value or an id: a word that begins with a letter and holds no address."""
    if not isinstance(value, str) or len(value) > _LONGEST_NAME or not _NAME.fullmatch(value):
        return None
    has_number = sum(map(str.isdigit, value)) >= _DIGITS_OF_A_NUMBER and has_contact(value)
    return None if has_number else value


def public_url(value: object) -> str | None:
    """Return an http(s) URL of at most 300 characters that holds no address."""
    if not isinstance(value, str) or len(value) > _LONGEST_URL:
        return None
    if not value.startswith(("https://", "http://")) or " " in value or has_contact(value):
        return None
    return value


def shown_addresses(raw: Mapping[str, Any], addresses: Addresses) -> list[str]:
    """Return the addresses of a message's recipients as they may be shown; empty with HIDDEN."""
    first = islice(_objects(raw.get("to")), _MOST_RECIPIENTS)
    shown = (_public_address(one.get("address"), addresses) for one in first)
    return [address for address in shown if address is not None]


def channel_of(raw: Mapping[str, Any]) -> str | None:
    """Return the channel of a message or an attempt: its sender's, else its first recipient's."""
    sender = raw.get("from")
    recipient = next(_objects(raw.get("to")), {})
    channel = public_name(sender.get("channel")) if isinstance(sender, dict) else None
    return channel or public_name(recipient.get("channel"))


def attempt_statuses(message: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the statuses of a public message's attempts, "" for one without."""
    return tuple(attempt.get("status") or "" for attempt in message.get("attempts") or ())


def attempt_changes(before: Sequence[str], message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the attempts of a public message that are new or have another status.

    `before` holds the statuses already emitted, as `attempt_statuses` gave them.
    """
    return [
        {
            "attempt": number,
            "channel": channel_of(attempt),
            "previousStatus": known or None,
            "status": attempt.get("status"),
            "error": attempt.get("error"),
        }
        for number, attempt in enumerate(message.get("attempts") or (), start=1)
        if (known := before[number - 1] if number <= len(before) else None)
        != (attempt.get("status") or "")
    ]


def _members(
    raw: Mapping[str, Any], addresses: Addresses, readers: Mapping[str, _Reader]
) -> dict[str, Any]:
    read = {name: readers[name](raw[name], addresses) for name in readers if name in raw}
    return {name: value for name, value in read.items() if value is not _NOTHING}


def _objects(value: object) -> Iterator[Mapping[str, Any]]:
    """Yield the objects of a list; of emails `to` may be one object in place of a list of one."""
    if isinstance(value, dict):
        yield value
    elif isinstance(value, list):
        yield from (item for item in value if isinstance(item, dict))


def _text(read: Callable[[object], str | None]) -> _Reader:
    def reader(value: object, _: Addresses) -> object:
        found = read(value)
        return _NOTHING if found is None else found

    return reader


def _object(readers: Mapping[str, _Reader]) -> _Reader:
    def reader(value: object, addresses: Addresses) -> object:
        return _members(value, addresses, readers) if isinstance(value, dict) else _NOTHING

    return reader


def _list(readers: Mapping[str, _Reader], most: int) -> _Reader:
    def reader(value: object, addresses: Addresses) -> object:
        if not isinstance(value, list | dict):
            return _NOTHING
        items = islice(_objects(value), most)
        return [_members(item, addresses, readers) for item in items]

    return reader


def _instant(value: object, _: Addresses) -> object:
    if value is None:
        return None
    # the fraction of a second could contain a phone number
    is_instant = isinstance(value, str) and parse_instant(value) and not has_contact(value)
    return value if is_instant else _NOTHING


def _error(value: object, _: Addresses) -> object:
    error = public_error(value)
    return error if error is not None or value is None else _NOTHING


def _address(value: object, addresses: Addresses) -> object:
    shown = _public_address(value, addresses)
    return _NOTHING if shown is None else shown


def _tags(value: object, _: Addresses) -> object:
    if not isinstance(value, dict):
        return _NOTHING
    clean = {key: tag for key, tag in value.items() if _is_clean_tag(key, tag)}
    return dict(list(clean.items())[:_MOST_TAGS])


def _is_clean_tag(key: object, tag: object) -> bool:
    return all(
        isinstance(text, str) and len(text) <= _LONGEST_TAG and not has_contact(text)
        for text in (key, tag)
    )


def _public_address(value: object, addresses: Addresses) -> str | None:
    if addresses is Addresses.HIDDEN or not isinstance(value, str) or not value:
        return None
    if addresses is Addresses.MASKED:
        return mask(value)
    return value if len(value) <= _LONGEST_ADDRESS and value.isprintable() else None


_NAMED: Final = _text(public_name)
_LINK: Final = _text(public_url)
_RECIPIENT: Final[Mapping[str, _Reader]] = {"address": _address, "channel": _NAMED}
_SENDER: Final[Mapping[str, _Reader]] = {**_RECIPIENT, "senderId": _NAMED}
_OF_ATTEMPT: Final[Mapping[str, _Reader]] = {
    "from": _object(_SENDER),
    "to": _list(_RECIPIENT, _MOST_RECIPIENTS_OF_ATTEMPT),
    "status": _NAMED,
    "attemptedAt": _instant,
    "infoUrl": _LINK,
    "error": _error,
}
_OF_MESSAGE: Final[Mapping[str, _Reader]] = {
    "id": _NAMED,
    "status": _NAMED,
    "from": _object(_SENDER),
    "to": _list(_RECIPIENT, _MOST_RECIPIENTS),
    "attempts": _list(_OF_ATTEMPT, _MOST_ATTEMPTS),
    "related": _list({"name": _NAMED, "id": _NAMED, "uri": _LINK}, _MOST_RELATED),
    "tags": _tags,
    "scheduledFor": _instant,
    "createdAt": _instant,
    "updatedAt": _instant,
    "deletedAt": _instant,
}
