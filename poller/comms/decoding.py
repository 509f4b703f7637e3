"""Bytes to JSON, for bytes that nobody vouches for. Pure.

Whatever is wrong with them comes out as one error. What comes in is bounded (see `client`); what
goes out can be written as JSON again: numbers are finite, nesting is shallow.
"""

import json
import zlib
from typing import Any, Final

__all__ = ["Overflow", "Undecodable", "inflate", "parse_json"]

# The vendor's documents nest five deep. What is carried into events must not exhaust the stack of
# whoever writes or reads them.
_DEEPEST: Final = 64
_EITHER_ZLIB_OR_GZIP: Final = zlib.MAX_WBITS | 32


class Undecodable(ValueError):
    """Bytes that are not what they claim to be; the message says why, and repeats none of them."""


class Overflow(ValueError):
    """More bytes than the bound."""


def inflate(body: bytes, *, encoding: str, limit: int) -> bytes:
    """Undo the `Content-Encoding` of a whole body: `gzip`, `deflate`, or none.

    :raises Overflow: as soon as the result passes `limit` bytes; no more than that is ever made.
    :raises Undecodable: where it is cut short, broken, or of another encoding.
    """
    match encoding.strip().lower():
        case "" | "identity":
            return body
        case "gzip" | "x-gzip" | "deflate":
            return _inflate(body, limit)
        case _:
            raise Undecodable("has a Content-Encoding that was not asked for")


def parse_json(body: bytes) -> object:
    """Decode strict JSON in UTF-8; a byte order mark is tolerated, of repeated keys the last wins.

    :raises Undecodable: where it is empty, not UTF-8, not JSON (NaN and Infinity are none), holds
        a number that cannot be represented, or nests over 64 deep.
    """
    if not body.strip():
        raise Undecodable("is empty")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Undecodable("is not UTF-8") from None
    try:
        document = json.loads(
            text, parse_constant=_refuse, parse_float=_finite, object_hook=_breathe
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


def _breathe(members: dict[str, Any]) -> dict[str, Any]:
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
