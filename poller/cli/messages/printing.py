"""Prints an operation's messages and errors: tables for people, JSON or CSV for programs.

The content of a message is never printed, and addresses only where the settings allow it.
"""

import csv
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from poller.cli.formatting import when
from poller.cli.messages.reading import Findings, MessageRow
from poller.cli.output import is_terminal, print_table
from poller.text import dump_json

_NOTHING: Final = "–"
_CAUSES: Final = ("CODE", "COUNT", "TEXT", "SAMPLES")
_COUNTS: Final = ("STATUS", "CHANNEL", "COUNT")
_ROWS: Final = ("ID", "STATUS", "CHANNEL", "CODE", "UPDATED")
_HEADER: Final = ("id", "status", "channel", "code", "updated_at")


def print_tables(findings: Findings, now: datetime) -> None:
    """Print errors by code, messages by status and channel, and each message.

    A terminal is narrow: there the time of a change is relative to `now`.
    """
    breakdown = findings.breakdown
    tables: list[tuple[Sequence[str], list[Sequence[str]]]] = [
        (_CAUSES, [_cause_cells(cause) for cause in breakdown["errors"]]),
        (_COUNTS, [_count_cells(count) for count in breakdown["messages"]]),
        _table_of(findings.rows, now if is_terminal() else None),
    ]
    for columns, rows in tables:
        if rows:
            if not is_terminal():  # a drawn table has its own margin
                sys.stdout.write("\n")
            print_table(columns, rows)


def print_json(operation: Mapping[str, Any], findings: Findings) -> None:
    """Print one document: the members of `operation`, `breakdown` and `messages`."""
    document = {
        **operation,
        "breakdown": findings.breakdown,
        "messages": [row.document() for row in findings.rows],
    }
    sys.stdout.write(dump_json(document) + "\n")


def print_csv(findings: Findings) -> None:
    """Print a header and the messages (RFC 4180, but with bare line feeds)."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(_HEADER)
    for row in findings.rows:
        cells = (row.id, row.status, row.channel, row.code, row.updated_at)
        writer.writerow("" if cell is None else cell for cell in cells)


def _table_of(
    rows: Sequence[MessageRow], now: datetime | None
) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Return columns and rows, with a column of addresses only if there are any."""
    if not any(row.to for row in rows):
        return _ROWS, [_row_cells(row, now) for row in rows]
    return (*_ROWS, "TO"), [(*_row_cells(row, now), ", ".join(row.to)) for row in rows]


def _row_cells(row: MessageRow, now: datetime | None) -> Sequence[str]:
    updated = row.updated_at if now is None else when(row.updated_at, now)
    return tuple(_cells((row.id, row.status, row.channel, row.code, updated)))


def _cause_cells(cause: Mapping[str, Any]) -> Sequence[str]:
    text = "\n".join(part for part in (cause["message"], cause["infoUrl"]) if part)
    samples = "\n".join(_sample(sample) for sample in cause["samples"])
    return tuple(_cells((cause["code"], f"{cause['count']:,}", text or None, samples or None)))


def _count_cells(count: Mapping[str, Any]) -> Sequence[str]:
    return tuple(_cells((count["status"], count["channel"], f"{count['count']:,}")))


def _sample(sample: Mapping[str, Any]) -> str:
    addresses = ", ".join(sample.get("to", ()))
    return f"{sample['id']} ({addresses})" if addresses else str(sample["id"])


def _cells(values: Iterable[object]) -> Iterator[str]:
    return (_NOTHING if value is None else str(value) for value in values)
