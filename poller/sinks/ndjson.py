"""Events as lines, pure: what of a byte stream counts as whole, and which ids its tail holds.

A line is one event and ends with a newline. JSON never holds a raw one, so a newline is the
certain sign of a whole line.
"""

import json
from collections.abc import Iterable, Sequence

from poller.sinks.base import OutgoingEvent


def join_lines(batch: Sequence[OutgoingEvent]) -> bytes:
    """Return the batch as the bytes of so many lines."""
    return b"".join(event.encoded() + b"\n" for event in batch)


def sound_length(tail: bytes) -> int:
    """Return how much of a file's tail is whole lines."""
    return tail.rfind(b"\n") + 1


def whole_lines(tail: bytes, *, limit: int) -> list[bytes]:
    """Return the last `limit` whole lines of a file's tail."""
    return tail.split(b"\n")[:-1][-limit:]


def ids_of(lines: Iterable[bytes]) -> frozenset[str]:
    """Return the event ids in these lines; a line that is no event has none."""
    return frozenset(found for line in lines if (found := _id_of(line)) is not None)


def _id_of(line: bytes) -> str | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):  # not JSON, or not UTF-8, or a joke
        return None
    found = event.get("id") if isinstance(event, dict) else None
    return found if isinstance(found, str) else None
