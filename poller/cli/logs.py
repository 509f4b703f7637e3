"""Logs: structlog on standard error, for people on a terminal and as JSON elsewhere."""

import logging
import sys
from collections.abc import Callable, MutableMapping
from typing import Any, Final

import structlog
from structlog.typing import Processor

from poller.cli.stderr import set_drop_notice

Fields = MutableMapping[str, Any]
Renderer = Callable[[Any, str, Fields], str | bytes]

_LEVELS: Final = logging.getLevelNamesMapping()
_LONGEST: Final = 32 * 1024
"""Characters of a line; a longer one is cut."""


def configure_logs(*, level: str, form: str, only: Processor | None = None) -> None:
    """Send every log line at or above `level` to standard error.

    `form` is `json`, `console`, or `auto`: console if standard error is a terminal. The processor
    `only` may drop lines, with `structlog.DropEvent`.
    """
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    render = _bounded(_console() if console else _json)
    structlog.configure(
        processors=[
            *([] if only is None else [only]),
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            stamp,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level.upper()]),
        # loggers are not cached, so that a module's logger follows the next configuration
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )

    def notice(count: int) -> str:
        fields = {"event": "log.recovered", "dropped_lines": count, "level": "warning"}
        return f"{render(None, 'warning', stamp(None, 'warning', fields))!s}\n"

    set_drop_notice(notice)
    root = logging.getLogger()
    if not any(isinstance(handler, LibraryLogs) for handler in root.handlers):
        root.addHandler(LibraryLogs(logging.WARNING))
    # at lower levels these log whole URLs, which may contain secrets
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)


class LibraryLogs(logging.Handler):
    """Logs the messages of libraries through structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record."""
        structlog.get_logger().log(
            record.levelno,
            "library.message",
            logger=record.name,
            message=record.getMessage(),
            exc_info=record.exc_info,
        )


def _bounded(render: Renderer) -> Renderer:
    """Cut lines that are too long; they stay well-formed, with timestamp, level and event."""

    def bounded(logger: Any, name: str, fields: Fields) -> str | bytes:  # noqa: ANN401 - as structlog declares it
        head = {key: fields[key] for key in ("timestamp", "level", "event") if key in fields}
        line = render(logger, name, fields)
        if len(line) <= _LONGEST:
            return line
        # half of the limit, since rendering escapes the line's escapes once more
        return render(logger, name, {**head, "cut": str(line[: _LONGEST // 2])})

    return bounded


def _json(logger: Any, name: str, fields: Fields) -> str | bytes:  # noqa: ANN401 - as structlog declares it
    return _JSON(logger, name, structlog.processors.format_exc_info(logger, name, fields))


_JSON: Final = structlog.processors.JSONRenderer()


def _console() -> Renderer:
    # the plain traceback, even though Rich is installed: Rich's shows local variables, and some
    # contain secrets
    plain = structlog.dev.plain_traceback
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
