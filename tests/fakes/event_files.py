"""Files of events that a daemon may be writing."""

import json
from pathlib import Path
from typing import Any

__all__ = ["read_events"]


def read_events(path: Path) -> list[dict[str, Any]]:
    """Read the events of a file so far: its whole lines; none where there is no file."""
    written = path.read_bytes() if path.exists() else b""
    return [json.loads(line) for line in written.split(b"\n")[:-1]]
