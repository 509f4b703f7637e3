"""Text that programs and people read: printable lines, instants, JSON. Pure."""

import json
import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

_LONGEST_LINE: Final = 300
_LONGEST_INSTANT: Final = 60
# RFC 3339, section 5.6: stricter than what Python reads as ISO 8601.
_INSTANT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?"
    r"(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_JSON: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def printable(text: str, *, limit: int = _LONGEST_LINE) -> str:
    """Return `text` on one line of at most `limit` characters, with “?” for unprintable ones."""
    line = "".join(c if c.isprintable() else "?" for c in " ".join(text[: 2 * limit].split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"


def one_line(text: str) -> str:
    """Return `text` with each run of blanks and unprintable characters replaced by one blank."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def counted(number: int, noun: str, plural: str = "") -> str:
    """Write a number with its noun: “1 event”, “1,200 events”. `plural` is `noun` and an s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def format_instant(instant: datetime) -> str:
    """Write an aware instant as RFC 3339 in UTC with milliseconds."""
    text = instant.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"


def parse_instant(value: object) -> datetime | None:
    """Read an RFC 3339 instant as UTC; None where it is absent, unreadable or has no offset."""
    if not isinstance(value, str) or len(value) > _LONGEST_INSTANT or not _INSTANT.fullmatch(value):
        return None
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


class NotJson(ValueError):
    """The text is not JSON that can be read; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatedMember:
    """Stands for an object that has the member `name` twice."""

    name: str


def parse_json(text: str | bytes) -> object:
    """Read JSON that a person or a program of the user wrote.

    An object that has a member twice is returned as a `RepeatedMember`: what is beside it can
    still be read, and the caller can name the member.

    :raises NotJson: where it is not JSON, or nested too deeply.
    """
    try:
        document: object = json.loads(text, object_pairs_hook=_members)
    except json.JSONDecodeError as error:
        raise NotJson(f"not valid JSON: {error}") from None
    except UnicodeDecodeError:
        raise NotJson("not valid JSON: not UTF-8") from None
    except RecursionError:
        raise NotJson("not valid JSON: nested too deeply") from None
    except ValueError:
        # Python reads integers of at most 4,300 digits
        raise NotJson("not valid JSON: a number with too many digits") from None
    return document


def _members(pairs: list[tuple[str, object]]) -> object:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    names = Counter(name for name, _ in pairs)
    return RepeatedMember(name=names.most_common(1)[0][0])


def dump_json(document: object) -> str:
    """Write JSON on one line that is always valid UTF-8.

    The API may send half a surrogate pair, which UTF-8 cannot encode; it is written as the escape
    sequence in which it arrived.
    """
    return _JSON.encode(document).encode("utf-8", "backslashreplace").decode()
