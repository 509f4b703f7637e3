"""`poller dead-letters`: what could not be delivered and was given up."""

import sys
from collections.abc import Sequence
from typing import Any, Final

from anyio import run

from poller.cli.failures import EXIT_TROUBLE, fail
from poller.cli.selection import UnknownSink, check_sink, selection, store_beside_daemon
from poller.cli.tables import print_table
from poller.cli.wiring import Source
from poller.settings import Settings
from poller.store.dead_letters import DeadLetter, Selection
from poller.tracking.events import dump_json, format_instant

__all__ = ["list_dead_letters"]

_COLUMNS: Final = ("EVENT", "SINK", "TYPE", "OPERATION", "GIVEN UP", "ATTEMPTS", "LAST ERROR")


def list_dead_letters(
    source: Source,
    *,
    sink: str | None,
    operation: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    json_output: bool,
) -> int:
    """Print up to `limit` dead letters in the order of their recording; returns the exit code.

    With `json_output` each is a JSON object on a line of its own.

    :raises typer.BadParameter: where an option is wrong.
    :raises SettingsError: where the settings cannot be used.
    :raises StoreError: where the store cannot be used.
    """
    chosen = selection(sink=sink, operation=operation, since=since, until=until)
    settings = source.load().settings
    try:
        found = run(_fetch, settings, chosen, limit + 1)
    except UnknownSink as error:
        fail(str(error), EXIT_TROUBLE)
    letters = found[:limit]
    if json_output:
        for letter in letters:
            sys.stdout.write(dump_json(_document(letter)) + "\n")
    elif letters:
        print_table(_COLUMNS, [_cells(letter) for letter in letters])
    sys.stdout.flush()
    if not letters:
        sys.stderr.write(f"poller: no dead letters{_where(settings)}\n")
    elif len(found) > limit:
        sys.stderr.write(f"poller: there are more; --limit is {limit}\n")
    return 0


async def _fetch(settings: Settings, chosen: Selection, limit: int) -> Sequence[DeadLetter]:
    async with store_beside_daemon(settings) as store:
        if chosen.sink is not None:
            check_sink(chosen.sink, await store.sinks(), option="--sink")
        return await store.dead_letters(chosen, limit=limit)


def _where(settings: Settings) -> str:
    """Say where was looked: a shell that lacks the daemon's settings looks elsewhere."""
    return f" of account {settings.account} at {settings.api.base_url} in {settings.store.url}"


def _cells(letter: DeadLetter) -> Sequence[str]:
    return (
        letter.event_id,
        letter.sink,
        letter.type,
        letter.operation_id,
        format_instant(letter.died_at),
        str(letter.attempts),
        letter.error or "",
    )


def _document(letter: DeadLetter) -> dict[str, Any]:
    return {
        "event": letter.event_id,
        "sink": letter.sink,
        "type": letter.type,
        "operation": letter.operation_id,
        "sequence": letter.sequence,
        "recordedAt": format_instant(letter.recorded_at),
        "diedAt": format_instant(letter.died_at),
        "attempts": letter.attempts,
        "status": letter.status,
        "error": letter.error,
    }
