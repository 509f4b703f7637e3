"""Where the log lines go; importing this module configures nothing.

A program that has configured structlog, as the command line does, gets the lines through that.
Any other program, which embeds the poller, gets them at the logger `poller` of the standard
library, and configures that.
"""

import logging
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

_CONFIGURED: Final[structlog.typing.FilteringBoundLogger] = structlog.get_logger()


def _as_text(_logger: object, _name: str, fields: MutableMapping[str, Any]) -> dict[str, Any]:
    """Append the fields of a line to its event, as the standard library has no place for them.

    They are not passed as arguments of the line: a value may contain a `%`.
    """
    options = {name: fields.pop(name) for name in ("exc_info", "stack_info") if name in fields}
    event = fields.pop("event")
    shown = [f"{name}={value!r}" for name, value in fields.items()]
    return {"msg": " ".join([str(event), *shown]), **options}


_STANDARD: Final[structlog.stdlib.BoundLogger] = structlog.wrap_logger(
    logging.getLogger("poller"),
    processors=[structlog.stdlib.filter_by_level, _as_text],
    wrapper_class=structlog.stdlib.BoundLogger,
)


class EventLog:
    """Writes log lines: an event, and its fields; the fields of `bound` are in each line."""

    def __init__(self, **bound: object) -> None:
        self._bound = bound

    def bind(self, **fields: object) -> "EventLog":
        """Return a log that adds these fields to each line."""
        return EventLog(**{**self._bound, **fields})

    def debug(self, event: str, **fields: object) -> None:
        """Log details that help to find a fault in the program."""
        _target().debug(event, **{**self._bound, **fields})

    def info(self, event: str, **fields: object) -> None:
        """Log a normal event."""
        _target().info(event, **{**self._bound, **fields})

    def warning(self, event: str, **fields: object) -> None:
        """Log a trouble that the program handles by itself."""
        _target().warning(event, **{**self._bound, **fields})

    def error(self, event: str, **fields: object) -> None:
        """Log a trouble that needs attention."""
        _target().error(event, **{**self._bound, **fields})

    def exception(self, event: str, **fields: object) -> None:
        """Log an error with the traceback of the exception that is being handled."""
        _target().exception(event, **{**self._bound, **fields})


_LOG: Final = EventLog()


def get_logger() -> EventLog:
    """Return the log for the lines of a module."""
    return _LOG


def _target() -> structlog.typing.FilteringBoundLogger | structlog.stdlib.BoundLogger:
    return _CONFIGURED if structlog.is_configured() else _STANDARD
