"""`poller sinks`: the state of each sink."""

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from poller.cli.formatting import when
from poller.cli.options import Config, Json, Overrides, Url, Version
from poller.cli.output import is_terminal, print_table
from poller.cli.session import Target, with_daemon
from poller.clock import wall_clock
from poller.control.client import ControlClient
from poller.server.documents import SinkDocument
from poller.text import dump_json, printable

_COLUMNS: Final = (
    "SINK",
    "STATE",
    "SINCE",
    "WAITING",
    "OLDEST",
    "DEAD",
    "NEXT ATTEMPT",
    "LAST ERROR",
)


def command(
    json_output: Json = False,
    url: Url = None,
    config: Config = None,
    overrides: Overrides = None,
    _version: Version = False,
) -> int:
    """Show the state of each sink, what waits for it and what it refused."""
    return show_sinks(Target(url, config, overrides), json_output=json_output)


def show_sinks(target: Target, *, json_output: bool) -> int:
    """Print every sink that is configured or has events waiting; returns the exit code.

    :raises SettingsError: where the settings cannot be used.
    :raises ControlError: where the daemon does not answer.
    """

    async def fetch(client: ControlClient) -> list[SinkDocument]:
        return await client.sinks()

    sinks = with_daemon(target, fetch)
    if json_output:
        for sink in sinks:
            sys.stdout.write(dump_json(sink) + "\n")
    else:
        now = wall_clock() if is_terminal() else None
        print_table(_COLUMNS, [_cells(sink, now) for sink in sinks])
    sys.stdout.flush()
    return 0


def _cells(sink: SinkDocument, now: datetime | None) -> Sequence[str]:
    """Write a row; without `now` the instants are RFC 3339, for programs."""

    def instant(text: str | None) -> str:
        return when(text, now) if now is not None else text or "–"

    return (
        sink["name"],
        _state(sink),
        instant(sink["since"]),
        str(sink["waiting"]),
        instant(sink["oldest"]),
        str(sink["dead"]),
        instant(sink["nextAttempt"]),
        printable(sink["lastError"] or "–"),
    )


def _state(sink: SinkDocument) -> str:
    if not sink["configured"]:
        return "not configured"
    if sink["state"] == "rejecting":
        return f"rejecting {sink['refused']} of {sink['answered']}"
    return sink["state"]
