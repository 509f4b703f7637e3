"""`poller dead-letters`: what could not be delivered and was given up."""

import sys
from collections.abc import Mapping, Sequence
from typing import Final

from anyio import run

from poller.cli.dead_letters import UnknownSink, check_sink, open_dead_letters, read_filters
from poller.cli.failures import EXIT_TROUBLE, fail
from poller.cli.options import (
    Config,
    Json,
    Limit,
    OperationId,
    Overrides,
    Since,
    SinkName,
    Until,
    Url,
    Version,
)
from poller.cli.output import print_table, say_rest
from poller.cli.session import Target
from poller.server.documents import DeadLetterDocument
from poller.text import dump_json

_COLUMNS: Final = ("EVENT", "SINK", "TYPE", "SUBJECT", "GIVEN UP", "ATTEMPTS", "LAST ERROR")


def command(
    sink: SinkName = None,
    operation: OperationId = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 100,
    json_output: Json = False,
    url: Url = None,
    config: Config = None,
    overrides: Overrides = None,
    _version: Version = False,
) -> int:
    """List what could not be delivered and was given up."""
    return list_dead_letters(
        Target(url, config, overrides),
        sink=sink,
        operation=operation,
        since=since,
        until=until,
        limit=limit,
        json_output=json_output,
    )


def list_dead_letters(
    target: Target,
    *,
    sink: str | None,
    operation: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    json_output: bool,
) -> int:
    """Print up to `limit` dead letters in recording order; returns the exit code.

    With `json_output` each is one line of JSON.

    :raises typer.BadParameter: where an option is wrong.
    :raises SettingsError: where the settings cannot be used.
    :raises ControlError: where the daemon at `--url` does not answer.
    :raises StoreError: where the store cannot be used.
    """
    filters = read_filters(sink=sink, operation=operation, since=since, until=until)
    try:
        found, place = run(_fetch, target, filters, limit + 1)
    except UnknownSink as error:
        fail(str(error), EXIT_TROUBLE)
    letters = found[:limit]
    if json_output:
        for letter in letters:
            sys.stdout.write(dump_json(letter) + "\n")
    elif letters:
        print_table(_COLUMNS, [_cells(letter) for letter in letters])
    sys.stdout.flush()
    say_rest(len(found), limit, nothing=f"no dead letters {place}")
    return 0


async def _fetch(
    target: Target, filters: Mapping[str, str], limit: int
) -> tuple[Sequence[DeadLetterDocument], str]:
    async with open_dead_letters(target) as source:
        if "sink" in filters:
            check_sink(filters["sink"], await source.sinks(), option="--sink")
        found = source.client.dead_letters(filters.items(), limit=limit)
        return [letter async for letter in found], source.place


def _cells(letter: DeadLetterDocument) -> Sequence[str]:
    return (
        letter["eventId"],
        letter["sink"],
        letter["type"],
        letter["operationId"],
        letter["diedAt"],
        str(letter["attempts"]),
        letter["lastError"] or "",
    )
