"""Standard output of the commands: it is there, encodes everything, and may fail."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EDQUOT, EFBIG, EIO, ENOSPC
from io import TextIOWrapper
from pathlib import Path
from typing import Final

_REFUSED: Final = frozenset({EDQUOT, EFBIG, EIO, ENOSPC})


def prepare_output() -> None:
    """Make `sys.stdout` usable by every command; `sys.__stdout__` stays as it was.

    One that was closed (`>&-`) discards what is written. Documents are UTF-8 whatever the locale; a
    terminal whose encoding lacks a character shows `?`.
    """
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - stays open
    elif isinstance(sys.stdout, TextIOWrapper):
        is_terminal = sys.stdout.isatty()
        sys.stdout.reconfigure(
            encoding=None if is_terminal else "utf-8", errors="replace" if is_terminal else None
        )


@contextmanager
def reporting_full_output() -> Iterator[None]:
    """Exit with 1 and one message where standard output, such as a file, takes nothing more."""
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSED or error.filename is not None:
            raise
        discard_output()
        sys.stderr.write(f"poller: standard output cannot be written: {error.strerror}\n")
        sys.exit(1)


def discard_output() -> None:
    """Discard what standard output could not take: else Python tries again when it exits."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
