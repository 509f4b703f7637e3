"""Decodes the bytes of an answer: decompression, strict JSON, typed reading of members. Pure.

Nothing here trusts the bytes. The input is bounded (see `client`); the output can be written as
JSON again: numbers are finite, nesting is shallow. Shapes are those of the vendor's
reference; unknown fields and values are accepted, because the vendor may add some at any time.
"""

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

from poller.contacts import scrub

# The vendor's documents nest five deep. Documents go into events, and must not exhaust the stack of
# a program that writes or reads them.
_DEEPEST: Final = 64
_EITHER_ZLIB_OR_GZIP: Final = zlib.MAX_WBITS | 32


class Undecodable(ValueError):
    """A body that cannot be decoded; the message says why, and repeats nothing of it."""


class Overflow(ValueError):
    """More bytes than the bound."""


def inflate(body: bytes, *, encoding: str, limit: int) -> bytes:
    """Undo the `Content-Encoding` of a whole body: `gzip`, `deflate`, or none.

    :raises Overflow: as soon as the result exceeds `limit` bytes; no more is decompressed.
    :raises Undecodable: where it is cut short, broken, or of another encoding.
    """
    match encoding.strip().lower():
        case "" | "identity":
            return body
        case "gzip" | "x-gzip" | "deflate":
            return _inflate(body, limit)
        case _:
            raise Undecodable("has a Content-Encoding that was not requested")


def parse_json(body: bytes) -> object:
    """Decode strict JSON in UTF-8. A byte order mark is accepted; the last of repeated keys wins.

    :raises Undecodable: where it is empty, not UTF-8, not JSON (NaN and Infinity are not), holds a
        number that cannot be represented, or nests over 64 deep.
    """
    if not body.strip():
        raise Undecodable("is empty")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Undecodable("is not UTF-8") from None
    try:
        document = json.loads(
            text, parse_constant=_refuse, parse_float=_finite, object_hook=_let_threads_run
        )
    except (ValueError, RecursionError):
        raise Undecodable(_looks_like(text)) from None
    if text.count("[") + text.count("{") > _DEEPEST:
        _check_depth(document)
    return document


def _inflate(body: bytes, limit: int) -> bytes:
    inflater = zlib.decompressobj(wbits=_EITHER_ZLIB_OR_GZIP)
    try:
        inflated = inflater.decompress(body, limit + 1)
    except zlib.error:
        raise Undecodable("is not the compressed data that it claims to be") from None
    if len(inflated) > limit:
        raise Overflow
    if not inflater.eof:
        raise Undecodable("is compressed data cut short")
    return inflated


def _let_threads_run(members: dict[str, Any]) -> dict[str, Any]:
    # A call into Python for each object lets other threads run: without it the parser would keep
    # the interpreter, and the event loop with it, until the whole page is read.
    return members


def _refuse(constant: str) -> float:
    raise ValueError(constant)


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0:  # infinite: 1e999
        raise ValueError(text[:20])
    return number


def _check_depth(document: object) -> None:
    level = [document]
    for _ in range(_DEEPEST):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)  # type: ignore[attr-defined]  # containers only
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise Undecodable(f"nests over {_DEEPEST} deep")


def _looks_like(text: str) -> str:
    return "is HTML, not JSON" if text.lstrip()[:1] == "<" else "is not JSON"


JsonObject = Mapping[str, Any]
Decoded = TypeVar("Decoded")

LARGEST_COUNTER: Final = 10**12
"""The largest number of anything that is counted.

Far more than an account can send, and so small that the sums over all operations of a store fit
into 64 bits, the limit of databases.
"""

_SHOWN: Final = 60
_LONGEST_NAME: Final = 200
_LONGEST_TOKEN: Final = 4096
_NEXT: Final = (("pagination", "next"), ("pagination", "nextPageToken"), ("meta", "next_page_url"))


class Nonsensical(ValueError):
    """JSON that does not have the expected shape; the message names the member."""


def read_object(value: object, name: str) -> JsonObject:
    """Return `value` as an object; errors call it `name`.

    :raises Nonsensical: where it is not an object.
    """
    if not isinstance(value, dict):
        raise Nonsensical(f"{name} is {show(value)}, not an object")
    return cast("JsonObject", value)


def read_list(members: JsonObject, *names: str) -> Sequence[object]:
    """Return the list under the first of `names` that is present.

    :raises Nonsensical: where there is no such list; the message names the first one.
    """
    value = next((members[name] for name in names if name in members), None)
    if not isinstance(value, list):
        raise Nonsensical(f"{names[0]} is {show(value)}, not a list")
    return value


def read_text(members: JsonObject, name: str) -> str:
    """Return the text under `name`: 1 to 200 characters, all of them printable.

    :raises Nonsensical: where it is missing or something else.
    """
    value = members.get(name)
    if not _is_plain(value, _LONGEST_NAME):
        raise Nonsensical(f"{name} is {show(value)}, not text of 1 to {_LONGEST_NAME} characters")
    return cast("str", value)


def read_id(members: JsonObject, expected: str | None) -> str:
    """Return the text under `id`.

    :raises Nonsensical: where it is missing or not `expected`.
    """
    found = read_text(members, "id")
    if expected is not None and found != expected:
        raise Nonsensical(f"id is {show(found)}, not {expected}, which was requested")
    return found


def next_token(members: JsonObject) -> str | None:
    """Return the token or the absolute URL of the next page; None where this is the last page.

    The reference has `pagination.next`; `pagination.nextPageToken` and `meta.next_page_url` have
    been observed.
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
    """Whether the token of the next page is its URL."""
    return token[:8].lower().startswith(("http://", "https://"))


def decode_each(
    items: Sequence[object], decode: Callable[[object], Decoded]
) -> tuple[list[Decoded], list[str]]:
    """Return the decoded items, and a problem for each item that `decode` refused."""
    decoded: list[Decoded] = []
    problems: list[str] = []
    for item in items:
        try:
            decoded.append(decode(item))
        except Nonsensical as problem:
            problems.append(str(problem))
    return decoded, problems


def show(value: object) -> str:
    """Return any value as errors show it: short and without addresses."""
    if value is None:
        return "missing or null"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and abs(value) > LARGEST_COUNTER:
        return "a number beyond 10¹²"
    shown = scrub(repr(value))
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"


def _is_plain(value: object, longest: int) -> bool:
    # Text for URLs, logs and databases must hold no control character and no lone surrogate.
    return isinstance(value, str) and 0 < len(value) <= longest and value.isprintable()
