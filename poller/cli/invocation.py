"""How this program was called, so that the commands it prints work where they are read."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from shlex import quote

__all__ = ["own_command"]


def own_command(
    argv0: str | None = None,
    *,
    python: str = sys.executable,
    which: Callable[[str], str | None] = shutil.which,
) -> str:
    """Return what to type before a command's name, quoted for a POSIX shell.

    The bare name only where the search path leads to this very program: in a fresh clone it is
    `.venv/bin/poller`, in an environment without scripts `python -m poller`.
    """
    called = argv0 or sys.argv[0]
    name = Path(called).name
    if name == "__main__.py":
        short = Path(python).name
        return f"{quote(short if which(short) == python else python)} -m poller"
    if which(name) == str(Path(os.path.abspath(called))):  # noqa: PTH100 - a link stays a link
        return quote(name)
    return quote(_from_here(called))


def _from_here(path: str) -> str:
    """Shorten a path below the current directory."""
    here = Path.cwd()
    absolute = here / path
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else path
