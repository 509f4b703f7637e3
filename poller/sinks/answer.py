"""What a webhook's answer means, pure: status and headers in, verdict and a sentence out."""

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from poller.sinks.base import Outcome, Verdict

__all__ = ["EXCERPT_CHARACTERS", "interpret", "retry_after", "scrub"]

EXCERPT_CHARACTERS = 200

_REFUSALS = frozenset({400, 413, 415, 422})
_GONE = 410
_HINTS = {
    401: "check the secret and the headers of this sink",
    403: "check the secret and the headers of this sink",
    404: "check the path of url",
    405: "check the path of url: it must take POST",
    407: "check the credentials in HTTPS_PROXY",
    410: "the receiver wants no more events; reload or restart to try again",
    413: "let the receiver take larger bodies",
    415: "let the receiver take application/cloudevents+json",
}
_REDIRECT_HINT = "redirects are not followed: set url to the final address"
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa1-\U0010ffff]+")
_SHORTEST_SECRET = 4
"""Shorter texts are too common to be cut out of a sentence."""


def interpret(
    *, status: int, headers: Mapping[str, str], body: bytes, place: str, now: datetime
) -> Outcome:
    """Return what an answer means for the event.

    `headers` finds names in any case; `body` is its beginning; `place` is how to call the
    receiver; `now` is when the answer arrived.
    """
    if 200 <= status < 300:  # noqa: PLR2004  (RFC 9110, section 15.3)
        return Outcome(verdict=Verdict.DELIVERED, status=status)
    return Outcome(
        verdict=_verdict(status),
        status=status,
        error=_sentence(status, body, place),
        retry_after=retry_after(headers, now=now),
    )


def retry_after(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Return the seconds that `Retry-After` asks for; None where it is absent or unreadable.

    A date is read against the answer's own `Date`, so that a wrong clock on either side does not
    matter, and against `now` where there is none (RFC 9110, section 10.2.3).
    """
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        seconds = float(text)
        return seconds if math.isfinite(seconds) else None
    until = _http_date(text)
    if until is None:
        return None
    since = _http_date(headers.get("date", "")) or now
    return max(0.0, (until - since).total_seconds())


def scrub(text: str, secrets: Iterable[str]) -> str:
    """Return the text with every one of these secrets cut out, the longest first."""
    for secret in sorted(set(secrets), key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "[…]")
    return text


def _verdict(status: int) -> Verdict:
    if status == _GONE:
        return Verdict.GONE
    return Verdict.REFUSED if status in _REFUSALS else Verdict.FAILED


def _sentence(status: int, body: bytes, place: str) -> str:
    said = _UNPRINTABLE.sub(" ", body.decode(errors="replace")).strip()
    hint = _REDIRECT_HINT if 300 <= status < 400 else _HINTS.get(status)  # noqa: PLR2004  (section 15.4)
    parts = [f"{place} answered {status}"]
    if hint:
        parts.append(f" ({hint})")
    if said:
        parts.append(f": {said}")
    return "".join(parts)


def _http_date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found
