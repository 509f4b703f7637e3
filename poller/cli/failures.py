"""How a command reports an error and exits: one message, no traceback.

Exit codes: 2 for what fails until somebody changes it (usage, settings, paths, permissions), so
that a service manager need not restart it; 1 for what may be temporary.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

import typer

EXIT_TROUBLE: Final = 1
EXIT_USAGE: Final = 2
EXIT_UNFINISHED: Final = 3
EXIT_TIMEOUT: Final = 4


def fail(message: str, code: int) -> NoReturn:
    """Print a message on standard error and exit with `code`."""
    sys.stderr.write(f"poller: {message}\n")
    raise typer.Exit(code)


@contextmanager
def reporting() -> Iterator[None]:
    """Turn every error that a user can correct into one message and an exit code."""
    try:
        yield
    except (Exception, BaseExceptionGroup) as error:
        # a task group wraps what its children raise, however deep
        cause = _first(error)
        if (code := _code_of(cause)) is None:
            raise
        fail(str(cause), code)


def _code_of(fault: BaseException) -> int | None:
    """Return the exit code for an error that a user can correct, None for every other."""
    # imported here: a command that succeeds needs none of these
    from poller.control.errors import ControlError  # noqa: PLC0415

    if isinstance(fault, ControlError):
        return EXIT_USAGE if fault.is_usage else EXIT_TROUBLE
    from poller.http.route import EgressError  # noqa: PLC0415
    from poller.server.listening import ListenError  # noqa: PLC0415
    from poller.settings import SettingsError  # noqa: PLC0415
    from poller.sinks.base import SinkUnavailable  # noqa: PLC0415
    from poller.store.errors import StoreError  # noqa: PLC0415
    from poller.tracking.registration import Conflict  # noqa: PLC0415

    if isinstance(fault, SettingsError | EgressError | Conflict):
        return EXIT_USAGE
    if isinstance(fault, StoreError | SinkUnavailable | ListenError):
        return EXIT_USAGE if fault.needs_change else EXIT_TROUBLE
    return None


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
