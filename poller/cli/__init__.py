"""The commands. Nothing heavy is imported before a command needs it."""

import gc
import os
import signal
import sys
from typing import NoReturn

from poller.cli.signals import hold_signals


def main() -> None:
    """Run the command line."""
    # what is imported stays: looking through it for garbage takes a sixth of a start
    gc.disable()
    if sys.argv[1:2] == ["run"]:
        # from the first instruction on: a SIGHUP that comes early must not end the daemon
        with hold_signals(until_exit=True):
            _main()
    if os.getpid() == 1:
        _end_on_signals()
    _main()


def _main() -> NoReturn:
    _occupy_standard_descriptors()
    # not before the signals are handled: it takes a moment
    from poller.cli.stderr import install  # noqa: PLC0415 - as said

    install()
    if sys.argv[1:2] == ["health"]:
        from poller.cli.health import quick_health  # noqa: PLC0415 - importing it costs little

        if (code := quick_health(sys.argv[2:])) is not None:
            sys.exit(code)
    from poller.cli.app import app  # noqa: PLC0415 - importing the package costs nothing

    sys.exit(app())


def _end_on_signals() -> None:
    """As process 1 of a container, which the kernel spares every signal that it does not handle."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))


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
