"""`poller list` and `poller forget`: what a running daemon watches."""

import re
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final

import typer
from rich.text import Text

from poller.cli.formatting import (
    done,
    failed,
    labels_text,
    progress,
    state_text,
    total,
    when,
)
from poller.cli.options import (
    Config,
    Json,
    Limit,
    Overrides,
    Url,
    Version,
    group_named,
    kinds_of,
    labels_of,
)
from poller.cli.output import is_terminal, print_table, say_rest, terminal
from poller.cli.session import Target, with_daemon
from poller.clock import wall_clock
from poller.comms.ids import is_message_id
from poller.comms.kinds import DEFAULT_KIND
from poller.control.client import ControlClient
from poller.server.documents import OperationDocument, TotalDocument, TotalsDocument
from poller.text import dump_json, printable
from poller.tracking.watch import Outcome, Phase, SortOrder

_BY: Final = re.compile(r"group|label:.{1,128}")
_MOST_TOTALS: Final = 1000
_COLUMNS: Final = (
    "ID",
    "KIND",
    "STATUS",
    "PHASE",
    "OUTCOME",
    "DONE",
    "FAILED",
    "NEXT LOOK",
    "LABELS",
)
_HEADINGS: Final = ("ID", "STATUS", "DONE", "FAILED", "NEXT LOOK")
_FAILED: Final = _HEADINGS.index("FAILED")
_STYLES: Final = {
    "completed": "green",
    "delivered": "green",
    "read": "green",
    "inbound": "green",
    "canceled": "yellow",
    "undelivered": "red",
    "failed": "red",
    "lost": "red",
    "forgotten": "dim",
}


def command(
    status: Annotated[
        list[str] | None,
        typer.Option(
            "--status", metavar="STATUS", help="Last seen status. Repeatable.", show_default=False
        ),
    ] = None,
    phase: Annotated[
        list[Phase] | None,
        typer.Option(
            "--phase",
            metavar="PHASE",
            help=f"Phase of the watch: {', '.join(Phase)}. Repeatable.",
            show_default=False,
        ),
    ] = None,
    outcome: Annotated[
        list[Outcome] | None,
        typer.Option(
            "--outcome",
            metavar="OUTCOME",
            help=f"How it ended: {', '.join(Outcome)}. Repeatable.",
            show_default=False,
        ),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind", metavar="KIND", help="Only of this kind. Repeatable.", show_default=False
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label", metavar="K=V", help="Only with this label. Repeatable.", show_default=False
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            "--group", metavar="NAME", help="Only members of this group.", show_default=False
        ),
    ] = None,
    with_failures: Annotated[
        bool, typer.Option("--with-failures", help="Only those with failed recipients.")
    ] = False,
    sort: Annotated[
        SortOrder | None,
        typer.Option(
            "--sort",
            metavar="registered|failed",
            help="registered: the latest first (default). failed: the most failures first, and "
            "only those with failures.",
            show_default=False,
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            metavar="group|label:KEY",
            help="Sum up by group, or by the value of a label.",
            show_default=False,
        ),
    ] = None,
    limit: Limit = 100,
    json_output: Json = False,
    url: Url = None,
    config: Config = None,
    overrides: Overrides = None,
    _version: Version = False,
) -> int:
    """List what the running daemon watches or watched, the latest registration first.

    With --by print the sums of each group, or of each value of a label, most failures first.
    """
    target = Target(url, config, overrides)
    filters = [
        *(("status", one) for one in status or ()),
        *(("kind", one) for one in kinds_of(kind or ())),
        *(("phase", one.value) for one in phase or ()),
        *(("outcome", one.value) for one in outcome or ()),
        *(("label", f"{name}={value}") for name, value in labels_of(label).items()),
        *([] if group is None else [("group", group_named(group))]),
        *([("withFailures", "true")] if with_failures else []),
    ]
    if by is None:
        order = [] if sort is None else [("sort", sort.value)]
        return list_operations(target, [*filters, *order], limit=limit, json_output=json_output)
    if sort is not None:
        raise typer.BadParameter("cannot be combined with --by", param_hint="--sort")
    if not _BY.fullmatch(by):
        raise typer.BadParameter("write group, or label:KEY", param_hint="--by")
    return list_totals(target, by, filters, limit=min(limit, _MOST_TOTALS), json_output=json_output)


def list_operations(
    target: Target, filters: Sequence[tuple[str, str]], *, limit: int, json_output: bool
) -> int:
    """Print up to `limit` operations that match parameters of the route; returns the exit code.

    :raises SettingsError: where the settings cannot be used.
    :raises ControlError: where the daemon does not answer.
    """

    async def fetch(client: ControlClient) -> list[OperationDocument]:
        return [one async for one in client.operations(filters, limit=limit + 1)]

    found = with_daemon(target, fetch)
    print_operations(found[:limit], json_output=json_output)
    say_rest(len(found), limit)
    return 0


def list_totals(
    target: Target,
    by: str,
    filters: Sequence[tuple[str, str]],
    *,
    limit: int,
    json_output: bool,
) -> int:
    """Print the sums of up to `limit` groups or values of a label; returns the exit code.

    :raises SettingsError: where the settings cannot be used.
    :raises ControlError: where the daemon does not answer.
    """

    async def fetch(client: ControlClient) -> TotalsDocument:
        return await client.totals(by, filters, limit=limit)

    found = with_daemon(target, fetch)
    totals = found["totals"]
    if json_output:
        for total_of_one in totals:
            sys.stdout.write(dump_json(total_of_one) + "\n")
    elif totals:
        heading = printable(by.removeprefix("label:")).upper()
        columns = (heading, "ENDED", "DONE", "FAILED", "OF DONE", "WITH FAILURES")
        print_table(columns, [_sums(one) for one in totals])
    sys.stdout.flush()
    say_rest(len(totals) + found["omitted"], limit)
    return 0


def _sums(one: TotalDocument) -> Sequence[str]:
    share = f"{one['failed'] / one['done']:.1%}" if one["done"] else "–"
    return (
        "–" if one["value"] is None else printable(one["value"]),
        f"{one['operations'] - one['watching']}/{one['operations']}",
        f"{one['done']}/{one['recipients']}",
        str(one["failed"]),
        share,
        str(one["withFailures"]),
    )


def print_operations(operations: Sequence[OperationDocument], *, json_output: bool) -> None:
    """Print operations, one a line, or as a table on a terminal."""
    if json_output:
        for operation in operations:
            sys.stdout.write(dump_json(operation) + "\n")
    elif operations and is_terminal():
        _draw(operations, wall_clock())
    elif operations:
        print_table(_COLUMNS, [_cells(operation) for operation in operations])
    sys.stdout.flush()


def _cells(operation: OperationDocument) -> Sequence[str]:
    return (
        operation["id"],
        operation["kind"],
        printable(operation["status"] or "–"),
        operation["phase"],
        operation["outcome"] or "–",
        _done(operation),
        str(failed(operation)),
        operation["nextLookAt"] or "–",
        printable(labels_text(operation["labels"])),
    )


def _draw(operations: Sequence[OperationDocument], now: datetime) -> None:
    """Draw for 80 columns: an id takes half of them, so rare values are on a second line.

    If the terminal is narrower, the number of failures is there as well.
    """
    screen = terminal()
    rows = [_terminal_cells(operation, now) for operation in operations]
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
    is_narrow = sum(widths) + 2 * (len(widths) - 1) > screen.width
    if is_narrow:
        widths[_FAILED] = 0

    def line(cells: Sequence[str], style: str = "") -> None:
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True) if width]
        text = "  ".join(padded)
        screen.print(Text(text.rstrip(), style=style), soft_wrap=True)

    line(_HEADINGS, "bold")
    for operation, row in zip(operations, rows, strict=True):
        line(row, _STYLES.get(row[1], ""))
        extras = (
            f"{failed(operation)} failed" if is_narrow and failed(operation) else "",
            "" if operation["kind"] == DEFAULT_KIND.name else operation["kind"],
            progress(operation) if is_message_id(operation["id"]) else "",
            printable(labels_text(operation["labels"])),
        )
        if rare := "  ".join(part for part in extras if part):
            screen.print(Text(f"    {rare}", style="dim"), soft_wrap=True)


def _terminal_cells(operation: OperationDocument, now: datetime) -> Sequence[str]:
    return (
        operation["id"],
        state_text(operation),
        _done(operation),
        str(failed(operation) or "–"),
        when(operation["nextLookAt"], now),
    )


def _done(operation: OperationDocument) -> str:
    of = total(operation)
    return f"{done(operation)}/{'?' if of is None else of}"
