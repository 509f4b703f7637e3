"""The commands. Nothing heavy is imported before a command needs it."""

import os
import signal
import sys

from poller.cli.stderr import install

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    _occupy_standard_descriptors()
    install()
    if os.getpid() == 1:
        _end_on_sigterm()
    if sys.argv[1:2] == ["health"]:
        from poller.cli.health import quick_health  # noqa: PLC0415 - importing it costs little

        if (code := quick_health(sys.argv[2:])) is not None:
            sys.exit(code)
    from poller.cli.app import app  # noqa: PLC0415 - importing the package costs nothing

    app()


def _end_on_sigterm() -> None:
    """As process 1 of a container, which the kernel spares every signal that it does not handle.

    The daemon handles it better, as soon as it has begun.
    """
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))


def _occupy_standard_descriptors() -> None:
    """Keep a socket or the store from becoming standard output where that was closed (`>&-`).

    What stands in for standard output can only be read, so that a write to it fails as it should
    instead of vanishing.
    """
    for descriptor, access in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            # the lowest free number is this one: the ones below are occupied by now
            os.open(os.devnull, access)
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - for good
