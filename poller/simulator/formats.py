"""The API's format of instants, and its ids: equal seeds give equal ids."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final


def to_millisecond(instant: datetime) -> datetime:
    """Round down to milliseconds, so that the instant equals what `format_instant` writes."""
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)


def format_instant(instant: datetime) -> str:
    """Write an aware instant."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_instant(text: str, *, naive_is_utc: bool = False) -> datetime:
    """Read an instant as UTC.

    :raises ValueError: if it is not an instant, or has no offset and `naive_is_utc` is false.
    """
    instant = datetime.fromisoformat(text.upper())
    if instant.tzinfo is None:
        if not naive_is_utc:
            raise ValueError("an offset is missing")
        instant = instant.replace(tzinfo=UTC)
    try:
        return instant.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("out of range") from error


# Crockford's base 32: no i, l, o, u. 26 characters have 130 bits for 128, so the first is 0–7.
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUE_OF: Final = {character: value for value, character in enumerate(_ALPHABET)}
_LENGTH: Final = 26
_PAIRS: Final = [first + second for first in _ALPHABET for second in _ALPHABET]

WELL_FORMED: Final = re.compile(r"comms_[a-z]+_[0-7][a-hjkmnpqrstv-z0-9]{25,34}")
"""The vendor's pattern, for any resource."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdMaker:
    """Makes and reads the ids of one seed and one kind of operation."""

    seed: int
    kind: str

    def make(self, prefix: str, ordinal: int, index: int = 0) -> str:
        """Return the id of the item at `index` of operation `ordinal`.

        There can be up to 2⁴⁴ operations with up to 2²⁰ messages each.
        """
        place = ordinal << 20 | index
        digest = self._digest(prefix, place)
        return prefix + _encode(digest << 64 | (place ^ digest))

    def read(self, prefix: str, text: str) -> tuple[int, int] | None:
        """Return the ordinal and the index of an id that `make` made, else None."""
        number = _decode(text.removeprefix(prefix))
        if number is None or not text.startswith(prefix):
            return None
        digest, masked = number >> 64, number & (1 << 64) - 1
        place = digest ^ masked
        if digest != self._digest(prefix, place):
            return None
        return place >> 20, place & (1 << 20) - 1

    def _digest(self, prefix: str, place: int) -> int:
        text = f"{self.seed}:{self.kind}:{prefix}:{place}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _encode(number: int) -> str:
    # Two characters at a time, for speed: a page of a thousand messages has two thousand ids.
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(5 * (_LENGTH - 2), -1, -10)])


def _decode(text: Sequence[str]) -> int | None:
    if len(text) != _LENGTH or any(character not in _VALUE_OF for character in text):
        return None
    number = 0
    for character in text:
        number = number * 32 + _VALUE_OF[character]
    return number if number < 1 << 128 else None
