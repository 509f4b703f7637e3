"""Defects that a test caused: in this process, and in the processes that it started.

`listen` hears every log line of this process, whatever a test does with the logs. The fakes that
start processes hand over what those wrote. `tests/conftest.py` fails each test that leaves a defect
here, unless the test is marked `defects`, with the reason.
"""

import logging
import re
import traceback
from collections.abc import Mapping
from typing import Any

from structlog._base import BoundLoggerBase

__all__ = ["hear", "listen", "taken"]

_DEFECT = re.compile(r"Traceback \(most recent call last\)|\b[a-z]+\.defect\b")
_found: list[str] = []


def hear(text: str, source: str) -> None:
    """Take what a process wrote; it counts where it holds a traceback or the line of a defect."""
    if _DEFECT.search(text):
        _found.append(f"{source} wrote:\n{text}")


def taken() -> list[str]:
    """Return what was found since the last call."""
    found = list(_found)
    _found.clear()
    return found


def listen() -> None:
    """Hear the log lines of this process from now on."""
    process_event = BoundLoggerBase._process_event

    def heard(self: Any, name: str, event: str | None, fields: dict[str, Any]) -> Any:  # noqa: ANN401 - as theirs
        if str(event).endswith(".defect"):
            _found.append(f"{event} {fields}\n{traceback.format_exc()}")
        return process_event(self, name, event, fields)

    BoundLoggerBase._process_event = heard  # type: ignore[method-assign, assignment]
    logging.getLogger().addHandler(_Handler(logging.WARNING))


class _Handler(logging.Handler):
    """Hears the exceptions that libraries log, such as asyncio and uvicorn."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info is not None and record.exc_info[1] is not None:
            detail: Mapping[str, object] = {"logger": record.name, "message": record.getMessage()}
            error = "".join(traceback.format_exception(record.exc_info[1]))
            _found.append(f"{detail}\n{error}")
