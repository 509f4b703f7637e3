"""What commands print on standard output: tables, and one result a line."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from poller.cli.failures import EXIT_TROUBLE
from poller.text import dump_json, printable


def is_terminal() -> bool:
    """Tell whether a person reads standard output."""
    return sys.stdout.isatty()


def terminal() -> Console:
    """Return the console to draw on; it finds no numbers and no markup in what it is given."""
    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table: drawn and wrapped on a terminal, else a line a row, cells apart by tabs."""
    if not is_terminal():
        for row in (columns, *rows):
            sys.stdout.write("\t".join(" ".join(cell.split()) for cell in row) + "\n")
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number == 0)  # what a row is looked up by stays whole
    for row in rows:
        table.add_row(*(Text(cell, overflow="fold") for cell in row))
    terminal().print(table)


class Results:
    """Prints results; `exit_code` is 1 once one was bad.

    For people and pipes a line is what it is about, a word and perhaps an explanation, apart by
    tabs in a pipe; with `json_output` it is the document.
    """

    def __init__(self, *, json_output: bool) -> None:
        self._json = json_output
        self._gap = "  " if is_terminal() else "\t"
        self.exit_code = 0

    def tell(
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
        """Let the reader have what was printed."""
        sys.stdout.flush()
