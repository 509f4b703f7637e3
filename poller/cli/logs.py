"""Logs: structlog on standard error, for people on a terminal and as JSON elsewhere."""

import logging
import sys
from typing import Any, Final

import structlog

__all__ = ["configure_logs"]

_LEVELS: Final = logging.getLevelNamesMapping()


def configure_logs(*, level: str, form: str) -> None:
    """Send every log line at or above `level` to standard error.

    `form` is `json`, `console`, or `auto`: console where standard error is a terminal.
    """
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *_renderers(console=console),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level.upper()]),
        # nothing is cached: a module's logger must heed the next configuration as well
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )
    # these log whole URLs, which may hold what nobody should read
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _renderers(*, console: bool) -> list[Any]:
    if console:
        # the usual traceback, also where Rich is installed: that one shows all local variables,
        # and some hold what nobody should read
        plain = structlog.dev.plain_traceback
        return [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
        ]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
