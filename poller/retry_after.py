"""`Retry-After` (RFC 9110, section 10.2.3), read as seconds. Pure."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

__all__ = ["read_retry_after"]

# A fraction is outside the grammar and seen all the same. Nobody means more than 12 digits.
_SECONDS: Final = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,12})?")
_LONGEST: Final = 64


def read_retry_after(value: str | None, *, date: str | None, now: datetime) -> float | None:
    """Return the seconds ≥ 0 that a `Retry-After` of `value` asks for, however many they are.

    An HTTP date is measured from the answer's own `date` header, so that neither clock matters;
    from `now` (UTC) where that is absent or unreadable. None where `value` is absent, unreadable,
    or lies in the past.
    """
    if value is None or len(value) > _LONGEST:
        return None
    text = value.strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    until = _http_date(text)
    if until is None:
        return None
    answered = _http_date(date) if date is not None else None
    seconds = (until - (answered or now)).total_seconds()
    return seconds if seconds >= 0 else None


def _http_date(text: str) -> datetime | None:
    if len(text) > _LONGEST:
        return None
    try:
        instant = parsedate_to_datetime(text)
        # The asctime form has no zone and means UTC, like the others.
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
