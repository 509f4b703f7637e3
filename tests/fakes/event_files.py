"""Files of events that a daemon may be writing."""

import json
from pathlib import Path
from typing import Any

__all__ = ["read_events"]


# what was read of the latest file: tests read it again and again, until what they wait for is there
_latest: tuple[Path, bytes, list[dict[str, Any]]] = (Path(), b"", [])


def read_events(path: Path) -> list[dict[str, Any]]:
    """Read the events of a file so far: its whole lines; none where there is no file."""
    global _latest  # noqa: PLW0603 - one file is read at a time
    written = path.read_bytes() if path.exists() else b""
    whole = written[: written.rfind(b"\n") + 1]
    file, known, events = _latest
    if file != path or not whole.startswith(known):
        known, events = b"", []
    events = [*events, *(json.loads(line) for line in whole[len(known) :].split(b"\n")[:-1])]
    _latest = (path, whole, events)
    return list(events)
