"""The state of a breakdown between two requests, and how it is stored. Pure."""

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from poller.comms.ids import is_message_id
from poller.tracking.breakdown.causes import Cause, causes_from, causes_to_json
from poller.tracking.privacy import public_name

_BYTES: Final = 6
_WIDTH: Final = 8  # six bytes in base 64


class Recent:
    """Recognizes repeated items by their fingerprints, in one text that is stored after every step.

    The last `most` fingerprints are kept. Two items share one with a chance of 1 in 2⁴⁸.
    """

    def __init__(self, marks: str, *, most: int) -> None:
        starts = range(0, len(marks), _WIDTH)
        self._marks = dict.fromkeys(marks[start : start + _WIDTH] for start in starts)
        self._most = most

    def is_new(self, *parts: object) -> bool:
        """Remember the item that these parts identify; False where it was known."""
        mark = _mark(parts)
        known = mark in self._marks
        self._marks[mark] = None
        return not known

    @property
    def marks(self) -> str:
        """The fingerprints, to be stored."""
        return "".join(list(self._marks)[-self._most :])


def is_marks(text: str) -> bool:
    """Return whether `text` may be the marks of a `Recent`."""
    return text.isascii() and len(text) % _WIDTH == 0


def _mark(parts: Iterable[object]) -> str:
    text = "\0".join(str(part) for part in parts)
    digest = blake2b(text.encode("utf-8", "backslashreplace"), digest_size=_BYTES)
    return b64encode(digest.digest()).decode()


ERRORS: Final = "errors"
"""The source for the operation's errors."""
MESSAGES: Final = "messages:"
"""The prefix of sources for messages; their status follows."""

_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Messages of one status on one channel."""

    status: str
    channel: str | None
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """The position of the reading and its results so far; at most 100 kB as JSON.

    `sources` are still to be read, the current one first, which is at its page `token` after
    `pages` others. `suspects` are failed messages that may be fetched, `fetched` how many were.
    `tokens` (of this source's pages) and `recent` are fingerprints (`Recent`).
    """

    sources: tuple[str, ...]
    token: str | None = None
    pages: int = 0
    tokens: str = ""
    recent: str = ""
    causes: tuple[Cause, ...] = ()
    counts: tuple[Count, ...] = ()
    suspects: tuple[str, ...] = ()
    fetched: int = 0
    missing: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Write it as one line of JSON."""
        members = {
            "version": _VERSION,
            "sources": self.sources,
            "token": self.token,
            "pages": self.pages,
            "tokens": self.tokens,
            "recent": self.recent,
            "causes": causes_to_json(self.causes),
            "counts": [[one.status, one.channel, one.count] for one in self.counts],
            "suspects": self.suspects,
            "fetched": self.fetched,
            "missing": self.missing,
        }
        return json.dumps(members, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> "Breakdown":
        """Read what `to_json` wrote.

        :raises ValueError: where it is something else, or of another version.
        """
        try:
            return _from_members(json.loads(text))
        except (ValueError, TypeError, KeyError, RecursionError):
            raise ValueError("the state of this breakdown cannot be read; begin it again") from None


def _from_members(members: Mapping[str, Any]) -> Breakdown:
    _check(members["version"] == _VERSION)
    token = members["token"]
    state = Breakdown(
        sources=_texts(members["sources"]),
        token=None if token is None else _text(token),
        pages=_number(members["pages"]),
        tokens=_marks(members["tokens"]),
        recent=_marks(members["recent"]),
        causes=causes_from(members["causes"]),
        counts=tuple(_count(*row) for row in members["counts"]),
        suspects=_texts(members["suspects"]),
        fetched=_number(members["fetched"]),
        missing=_texts(members["missing"]),
    )
    _check(all(_is_source(one) for one in state.sources))
    _check(all(is_message_id(one) for one in state.suspects))
    return state


def _is_source(text: str) -> bool:
    return text == ERRORS or (
        text.startswith(MESSAGES) and public_name(text.removeprefix(MESSAGES)) is not None
    )


def _count(status: object, channel: object, count: object) -> Count:
    channel = None if channel is None else _name(channel)
    return Count(status=_name(status), channel=channel, count=_number(count))


def _name(value: object) -> str:
    _check(public_name(value) is not None)
    return _text(value)


def _number(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("no number")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("no text")  # noqa: TRY004 - what was stored is wrong, not the caller
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError("no list")  # noqa: TRY004 - as above
    return tuple(_text(one) for one in value)


def _marks(value: object) -> str:
    _check(is_marks(_text(value)))
    return _text(value)


def _check(is_right: bool) -> None:  # noqa: FBT001 - it is an assertion that stays
    if not is_right:
        raise ValueError("something else")
