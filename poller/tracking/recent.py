"""What was seen lately, as fingerprints in one text: small enough to be stored at every step."""

from base64 import b64encode
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

__all__ = ["Recent", "is_marks"]

_BYTES: Final = 6
_WIDTH: Final = 8  # six bytes in base 64


class Recent:
    """The last `most` things of those that `marks` remembers and that were told apart since.

    Two things are taken for one with a chance of 1 in 2⁴⁸.
    """

    def __init__(self, marks: str, *, most: int) -> None:
        starts = range(0, len(marks), _WIDTH)
        self._marks = dict.fromkeys(marks[start : start + _WIDTH] for start in starts)
        self._most = most

    def is_new(self, *parts: object) -> bool:
        """Remember the thing that is made of these parts; tell whether it was not known."""
        mark = _mark(parts)
        known = mark in self._marks
        self._marks[mark] = None
        return not known

    @property
    def marks(self) -> str:
        """What to remember."""
        return "".join(list(self._marks)[-self._most :])


def is_marks(text: str) -> bool:
    """Tell whether `text` may be what a `Recent` remembers."""
    return text.isascii() and len(text) % _WIDTH == 0


def _mark(parts: Iterable[object]) -> str:
    text = "\0".join(str(part) for part in parts)
    digest = blake2b(text.encode("utf-8", "backslashreplace"), digest_size=_BYTES)
    return b64encode(digest.digest()).decode()
