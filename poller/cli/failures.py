"""What a command says when something is wrong, and how it exits: one message, no traceback.

Exit codes: 2 for bad usage and bad settings, 1 for trouble with the world.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

import typer

__all__ = ["EXIT_TIMEOUT", "EXIT_TROUBLE", "EXIT_UNFINISHED", "EXIT_USAGE", "fail", "reporting"]

EXIT_TROUBLE: Final = 1
EXIT_USAGE: Final = 2
EXIT_UNFINISHED: Final = 3
EXIT_TIMEOUT: Final = 4


def fail(message: str, code: int) -> NoReturn:
    """Say what is wrong on standard error and exit."""
    sys.stderr.write(f"poller: {message}\n")
    raise typer.Exit(code)


@contextmanager
def reporting() -> Iterator[None]:
    """Turn every fault that a user can mend into one message and an exit code."""
    # imported here: `--help` needs none of them
    from poller.http import EgressError  # noqa: PLC0415
    from poller.server.listening import ListenError  # noqa: PLC0415
    from poller.settings import SettingsError  # noqa: PLC0415
    from poller.sinks.base import SinkUnavailable  # noqa: PLC0415
    from poller.store.errors import StoreError  # noqa: PLC0415
    from poller.tracking.registration import Conflict  # noqa: PLC0415

    usage = (SettingsError, EgressError, Conflict)
    trouble = (StoreError, SinkUnavailable, ListenError)
    try:
        yield
    except (*usage, *trouble, BaseExceptionGroup) as error:
        # a task group wraps what its children raise, however deep
        cause = _first(error)
        if isinstance(cause, usage):
            fail(str(cause), EXIT_USAGE)
        if isinstance(cause, trouble):
            fail(str(cause), EXIT_TROUBLE)
        raise


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
