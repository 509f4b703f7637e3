"""The commands. Nothing heavy is imported before a command needs it."""

import os
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    _occupy_standard_descriptors()
    from poller.cli.app import app  # noqa: PLC0415 - importing the package costs nothing

    app()


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
