"""Tables on standard output: drawn on a terminal, plain lines where a program reads them."""

import sys
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["is_terminal", "print_table", "terminal"]


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
