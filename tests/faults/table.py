"""The table of misbehaviours in `config/faults.md`, read as rows."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

__all__ = ["Row", "read_table", "rows_of"]

_PAGE: Final = Path(__file__).parents[2] / "config" / "faults.md"
_CODE: Final = re.compile(r"`([^`]+)`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One misbehaviour: `logs` are the log events that it shows as, `tests` end its proof."""

    happens: str
    does: str
    logs: tuple[str, ...]
    tests: tuple[str, ...]


@cache
def read_table() -> tuple[Row, ...]:
    """Read every row of every table on the page."""
    lines = _PAGE.read_text(encoding="utf-8").splitlines()
    cells = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in lines
        if line.startswith("| ") and not line.startswith("| ---")
    ]
    return tuple(
        Row(
            happens=row[0],
            does=row[1],
            logs=tuple(_CODE.findall(row[2])),
            tests=tuple(_CODE.findall(row[3])),
        )
        for row in cells
        if row[0] != "what happens"
    )


def rows_of(file: str, name: str) -> list[Row]:
    """Return the rows that name this test, or the function that it is a case of."""
    wanted = {f"{file}::{name}", f"{file}::{name.partition('[')[0]}"}
    return [row for row in read_table() if wanted.intersection(row.tests)]
