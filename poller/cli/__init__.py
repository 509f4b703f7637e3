"""The commands. Nothing heavy is imported before a command needs it."""

import gc
import os
import signal
import sys
from typing import NoReturn

from poller.cli.signals import hold_signals


def main() -> None:
    """Run the command line."""
    # imported modules are never freed: scanning them takes a sixth of the time of a start
    gc.disable()
    if sys.argv[1:2] == ["run"]:
        # before anything else: an early SIGHUP must not end the daemon
        with hold_signals(until_exit=True):
            _main()
    if os.getpid() == 1:
        _end_on_signals()
    _main()


def _main() -> NoReturn:
    _occupy_standard_descriptors()
    # imported only now, when signals are handled already: the import takes a moment
    from poller.cli.stderr import install  # noqa: PLC0415 - see above
    from poller.cli.stdout import prepare_output, reporting_full_output  # noqa: PLC0415 - see above

    install()
    prepare_output()
    with reporting_full_output():
        sys.exit(_run())


def _run() -> int:
    if sys.argv[1:2] == ["health"]:
        from poller.cli.health import quick_health  # noqa: PLC0415 - importing it costs little

        if (code := quick_health(sys.argv[2:])) is not None:
            return code
    from poller.cli.app import app  # noqa: PLC0415 - importing the package costs nothing

    app()
    return 0


def _end_on_signals() -> None:
    """Exit on SIGTERM and SIGHUP: the kernel spares process 1 their default action."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))


def _occupy_standard_descriptors() -> None:
    """Open /dev/null for each standard descriptor that is closed (`>&-`).

    Otherwise a socket or the store would get that number, and output would be written into it.
    For standard output it is opened for reading, so that a write fails instead of vanishing.
    """
    for descriptor, access in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            # `open` takes the lowest free number: this one, since those below are open by now
            os.open(os.devnull, access)
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - stays open
