"""`poller verify`: audit files of events."""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer

from poller.audit.audit import Audit, FileLine, number_lines
from poller.cli.failures import EXIT_TROUBLE, EXIT_USAGE, fail
from poller.cli.options import Json, Version
from poller.text import dump_json

_STDIN: Final = Path("-")


def command(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Files of events.")],
    allow_gaps: Annotated[
        bool,
        typer.Option(
            "--allow-gaps", help="Accept missing events: the sink filters, or has dead letters."
        ),
    ] = False,
    ended: Annotated[
        bool, typer.Option("--ended", help="Report operations that have not ended.")
    ] = False,
    json_output: Json = False,
    _version: Version = False,
) -> int:
    """Audit files of events against the promises: order, gaps, deltas, exactly one end.

    Exits with 1 where there is a problem. - reads standard input.
    """
    return verify_files(files, allow_gaps=allow_gaps, ended=ended, json_output=json_output)


def verify_files(files: Sequence[Path], *, allow_gaps: bool, ended: bool, json_output: bool) -> int:
    """Print each problem on a line, then a summary; returns 1 if there is a problem, else 0.

    Several files count as one stream, in the order given; `-` is standard input. With
    `json_output` problems and summary are JSON objects. A file that cannot be read exits with 2.
    """
    audit = Audit(allow_gaps=allow_gaps, ended=ended)
    for problem in audit.check(_lines(files)):
        sys.stdout.write((dump_json(asdict(problem)) if json_output else str(problem)) + "\n")
    summary = audit.summary
    sys.stdout.write(
        (dump_json({"summary": asdict(summary)}) if json_output else str(summary)) + "\n"
    )
    sys.stdout.flush()
    return EXIT_TROUBLE if summary.problems else 0


def _lines(files: Sequence[Path]) -> Iterator[FileLine]:
    for path in files:
        if path == _STDIN:
            yield from number_lines("-", sys.stdin.buffer)
            continue
        # the name of a file may be bytes that are not UTF-8
        name = os.fsencode(path).decode("utf-8", "replace")
        try:
            with path.open("rb") as file:
                yield from number_lines(name, file)
        except OSError as error:
            fail(f"cannot read {name}: {error.strerror}", EXIT_USAGE)
