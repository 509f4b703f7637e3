"""What commands print on standard output: tables, and one result a line."""

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from shlex import quote
from textwrap import fill
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from poller.cli.failures import EXIT_TROUBLE
from poller.text import dump_json, printable

_BELOW: Final = " " * 4


def is_terminal() -> bool:
    """Return whether standard output is a terminal."""
    return sys.stdout.isatty()


def terminal() -> Console:
    """Return a Rich console for standard output, without highlighting and markup."""
    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table: drawn on a terminal (see `draw_table`), else with tabs between cells."""
    if not is_terminal():
        for row in (columns, *rows):
            sys.stdout.write("\t".join(" ".join(cell.split()) for cell in row) + "\n")
        return
    draw_table(terminal(), columns, list(rows))


def say_rest(found: int, limit: int, *, nothing: str = "nothing found") -> None:
    """Report on standard error that a list is empty, or has more entries than were printed."""
    if not found:
        sys.stderr.write(f"poller: {nothing}\n")
    elif found > limit:
        sys.stderr.write(f"poller: there are more; --limit is {limit}\n")


def draw_table(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Draw a table that fits the console's width, without breaking words.

    If it is too wide, the last cell of a row (the longest text) moves to the line below unless it
    fits. If that is still too wide, every cell but the first moves there, after its heading.
    """
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    if _drawn_width(widths) <= console.width:
        table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column, no_wrap=True)
        for row in rows:
            table.add_row(*map(Text, row))
        console.print(table)
        return
    on_line = len(widths) - 1 if _line_width(widths[:-1]) <= console.width else 1

    def line(cells: Sequence[str], style: str = "") -> int:
        """Print as many cells as fit, and return their number."""
        whole = len(cells) if _line_width([*widths[:-1], len(cells[-1])]) <= console.width else 0
        size = max(on_line, whole)
        padded = (cell.ljust(width) for cell, width in zip(cells[:size], widths, strict=False))
        console.print(Text("  ".join(padded).rstrip(), style=style), soft_wrap=True)
        return size

    line(columns, "bold")
    for row in rows:
        size = line(row)
        found = list(zip(columns, row, strict=True))[size:]
        parts = [f"{name.lower()} {cell}" for name, cell in found if cell not in {"", "–"}]
        if parts:
            text = wrapped("; ".join(parts), width=console.width, begin=_BELOW, indent=_BELOW)
            console.print(Text(text, style="dim"), soft_wrap=True)


def wrapped(text: str, *, width: int, begin: str = "", indent: str = "") -> str:
    """Put `begin` before a text and wrap it between words, later lines after `indent`.

    A word that is longer than a line stays whole, so that it can be copied.
    """
    return fill(
        text,
        width=width,
        initial_indent=begin,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _line_width(widths: Sequence[int]) -> int:
    return sum(widths) + 2 * (len(widths) - 1)


def _drawn_width(widths: Sequence[int]) -> int:
    return sum(widths) + 3 * (len(widths) - 1) + 2


class Results:
    """Prints one result a line; `exit_code` is 1 once one was bad.

    A line has the subject, a word and an optional explanation, separated by tabs in a pipe. With
    `json_output` it is the JSON document.
    """

    def __init__(self, *, json_output: bool) -> None:
        self._json = json_output
        self._gap = "  " if is_terminal() else "\t"
        self.exit_code = 0

    def add(
        self, subject: str, word: str, *, detail: str | None, document: Mapping[str, Any], bad: bool
    ) -> None:
        """Print one result."""
        if bad:
            self.exit_code = EXIT_TROUBLE
        if self._json:
            sys.stdout.write(dump_json(document) + "\n")
            return
        cells = [subject, word, *([printable(detail, limit=500)] if detail else [])]
        sys.stdout.write(self._gap.join(cells) + "\n")

    def flush(self) -> None:
        """Flush standard output."""
        sys.stdout.flush()


def own_command(
    argv0: str | None = None,
    *,
    python: str = sys.executable,
    which: Callable[[str], str | None] = shutil.which,
) -> str:
    """Return the command that starts this program, quoted for a POSIX shell.

    It is the bare name only if `PATH` finds this very program. In a fresh clone it is
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
