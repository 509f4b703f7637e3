"""A webhook's receiver: its allowed URL and headers, and the meaning of its answers. Pure."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from poller.addresses import Unusable, split_web_url
from poller.http.failures import read_retry_after
from poller.sinks.base import SinkOutcome, SinkVerdict

RESERVED_HEADERS: Final = frozenset(
    """
    connection content-encoding content-length content-type expect host keep-alive te trailer
    transfer-encoding upgrade webhook-id webhook-signature webhook-timestamp
    """.split()
)
"""Headers that the poller or HTTP itself sets: another value breaks signature or framing."""

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?")
_URL_FIX: Final = (
    "write it like https://app.example.com/hooks/poller; credentials belong in headers"
)


def check_header(name: str, value: str) -> None:
    """Check that a header may be sent with every event.

    :raises Unusable: if it may not; the message names the header.
    """
    try:
        check_header_name(name)
        check_header_value(value)
    except Unusable as error:
        raise Unusable(f"header {name!r}: {error.what}", error.fix) from None


def check_header_name(name: str) -> None:
    """Check that a header of that name may be sent.

    :raises Unusable: if it is not a name, or is reserved.
    """
    if not _NAME.fullmatch(name):
        raise Unusable("not a name for a header", "use letters, digits and -")
    if name.lower() in RESERVED_HEADERS:
        raise Unusable("the poller writes this header itself", "leave it out")


def check_header_value(value: str) -> None:
    """Check that a header can have that value.

    :raises Unusable: if it would break the request.
    """
    if not _VALUE.fullmatch(value):
        raise Unusable(
            "a header's value is one line of printable ASCII without spaces around it",
            "remove line breaks and spaces at its ends",
        )


def check_url(url: str) -> None:
    """Check that events can be posted to this URL.

    :raises Unusable: if it is not an http(s) URL, or holds user info or a fragment.
    """
    split_web_url(url, fix=_URL_FIX)
    if "#" in url:
        raise Unusable("a webhook's URL has no fragment, it would never be sent", _URL_FIX)


EXCERPT_CHARACTERS = 200

_REFUSALS = frozenset({400, 413, 415, 422})
_GONE = 410
_BUSY = frozenset({429, 503})
_HINTS = {
    401: "check the url, the secret and the headers of this sink",
    403: "check the url, the secret and the headers of this sink",
    404: "check the path of url",
    405: "check the path of url: it must take POST",
    407: "a proxy in between wants credentials, but no proxy variable names it",
    410: "the receiver wants no more events; reload or restart to try again",
    413: "let the receiver take larger bodies",
    415: "let the receiver take this content-type, or set another format",
}
_REDIRECT_HINT = "redirects are not followed: set url to the final address"
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa1-\U0010ffff]+")
_SHORTEST_SECRET = 4
"""Shorter texts are not replaced: they may be ordinary words of a message."""


def interpret(
    *, status: int, headers: Mapping[str, str], body: bytes, place: str, now: datetime
) -> SinkOutcome:
    """Return the outcome of a delivery from the receiver's answer.

    `headers` finds names in any case; `body` is its beginning; `place` names the receiver in
    messages; `now` is when the answer arrived.
    """
    if 200 <= status < 300:  # noqa: PLR2004  (RFC 9110, section 15.3)
        return SinkOutcome(verdict=SinkVerdict.DELIVERED, status=status)
    return SinkOutcome(
        verdict=_verdict(status),
        status=status,
        error=_sentence(status, body, place),
        retry_after=_retry_after(status, headers, now),
    )


def scrub(text: str, secrets: Iterable[str]) -> str:
    """Return the text with each of these secrets replaced, the longest first."""
    for secret in sorted(set(secrets), key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "[…]")
    return text


def _verdict(status: int) -> SinkVerdict:
    if status == _GONE:
        return SinkVerdict.GONE
    return SinkVerdict.REFUSED if status in _REFUSALS else SinkVerdict.FAILED


def _retry_after(status: int, headers: Mapping[str, str], now: datetime) -> float | None:
    """Read `Retry-After` of answers where it means a pause: of 429 and 503 only."""
    if status not in _BUSY:
        return None
    return read_retry_after(headers.get("retry-after"), date=headers.get("date"), now=now)


def _sentence(status: int, body: bytes, place: str) -> str:
    excerpt = _UNPRINTABLE.sub(" ", body.decode(errors="replace")).strip()
    hint = _REDIRECT_HINT if 300 <= status < 400 else _HINTS.get(status)  # noqa: PLR2004  (section 15.4)
    parts = [f"{place} answered {status}"]
    if hint:
        parts.append(f" ({hint})")
    if excerpt:
        parts.append(f": {excerpt}")
    return "".join(parts)
