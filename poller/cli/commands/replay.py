"""`poller replay`: send events again: stored ones by their ids, or a selection of dead letters."""

import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import typer
from anyio import run

from poller.cli.dead_letters import UnknownSink, check_sink, open_dead_letters, read_filters
from poller.cli.failures import EXIT_TROUBLE, fail
from poller.cli.options import (
    Config,
    Json,
    OperationId,
    Overrides,
    Since,
    SinkName,
    Until,
    Url,
    Version,
)
from poller.cli.session import Target
from poller.control.client import ControlClient
from poller.control.errors import Refused
from poller.text import dump_json

_EVENT_ID: Final = re.compile(r"[0-9A-Za-z_-]{1,100}")
_UNKNOWN_EVENT: Final = "unknown-event"


@dataclass(frozen=True, slots=True, kw_only=True)
class _ReplayRequest:
    """What to send again: events by id (to the sinks `to`, or all), else dead letters by filter.

    Without event ids and filters it means all dead letters.
    """

    event_ids: Sequence[str]
    to: Sequence[str]
    filters: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Result:
    """How many events are replayed for each sink, errors, and sinks that are not configured.

    `is_served` says that a daemon is running, which will send them.
    """

    replayed: Mapping[str, int]
    is_served: bool
    absent: Sequence[str] = ()
    errors: Sequence[str] = ()


def command(
    event_ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="EVENT_ID", help="Events by id.", show_default=False),
    ] = None,
    sink: SinkName = None,
    operation: OperationId = None,
    since: Since = None,
    until: Until = None,
    everything: Annotated[bool, typer.Option("--all", help="Every dead letter.")] = False,
    to: Annotated[
        list[str] | None,
        typer.Option(
            "--to", metavar="SINK", help="Send EVENT_ID to this sink only, as --sink. Repeatable."
        ),
    ] = None,
    json_output: Json = False,
    url: Url = None,
    config: Config = None,
    overrides: Overrides = None,
    _version: Version = False,
) -> int:
    """Send events again: one by its id, or the dead letters of a sink, an operation, a period."""
    return replay_events(
        Target(url, config, overrides),
        event_ids=event_ids or [],
        sink=sink,
        operation=operation,
        since=since,
        until=until,
        everything=everything,
        to=to or [],
        json_output=json_output,
    )


def replay_events(
    target: Target,
    *,
    event_ids: Sequence[str],
    sink: str | None,
    operation: str | None,
    since: str | None,
    until: str | None,
    everything: bool,
    to: Sequence[str],
    json_output: bool,
) -> int:
    """Make events due again and print how many for each sink; returns the exit code.

    Returns 1 where an event is not stored any more; the others are replayed all the same.

    :raises typer.BadParameter: where an option is wrong.
    :raises typer.UsageError: where nothing, or two different things, are chosen.
    :raises SettingsError: where the settings cannot be used.
    :raises ControlError: where the daemon at `--url` does not answer.
    :raises StoreError: where the store cannot be used.
    """
    if event_ids and sink is not None:
        # an event is sent to sinks, a dead letter is one sink's: --sink can only mean the same
        to, sink = (*to, sink), None
    options = [value for value in (sink, operation, since, until) if value is not None]
    _check_choice(ids=bool(event_ids), options=bool(options), everything=everything, to=bool(to))
    filters = read_filters(sink=sink, operation=operation, since=since, until=until)
    request = _ReplayRequest(event_ids=tuple(dict.fromkeys(event_ids)), to=to, filters=filters)
    try:
        result = run(_replay, target, request)
    except UnknownSink as error:
        fail(str(error), EXIT_TROUBLE)
    _show(result, json_output=json_output)
    _warn(result)
    return EXIT_TROUBLE if result.errors else 0


def _check_choice(*, ids: bool, options: bool, everything: bool, to: bool) -> None:
    if ids + options + everything > 1:
        raise typer.BadParameter(
            "give event ids, or a selection of dead letters, or --all, not several of them"
        )
    if to and not ids:
        raise typer.BadParameter("requires event ids", param_hint="--to")
    if not (ids or options or everything):
        raise typer.BadParameter(
            "nothing is selected; give event ids, or dead letters by --sink, --operation, "
            "--since or --until, or --all of them"
        )


async def _replay(target: Target, request: _ReplayRequest) -> _Result:
    async with open_dead_letters(target) as source:
        sinks = await source.sinks()
        _check_sinks(request, sinks)
        if request.event_ids:
            replayed, errors = await _replay_each(source.client, request)
        else:
            chosen: Mapping[str, object] = request.filters or {"all": True}
            replayed, errors = await source.client.replay_dead_letters(chosen), []
        absent = sorted(name for name in replayed if not sinks.get(name, False))
    return _Result(replayed=replayed, absent=absent, errors=errors, is_served=source.is_served)


def _check_sinks(request: _ReplayRequest, sinks: Mapping[str, bool]) -> None:
    """Refuse sinks that are not configured: their replayed events would wait, three days at most.

    :raises UnknownSink: naming the option.
    """
    named = [("--to", name) for name in request.to]
    if "sink" in request.filters:
        named.append(("--sink", request.filters["sink"]))
    for option, name in named:
        if not check_sink(name, sinks, option=option):
            raise UnknownSink(
                f"{option}: the daemon's settings do not name the sink {name!r} any more; "
                f"add [sinks.{name}] again and reload it, then replay"
            )


async def _replay_each(
    client: ControlClient, request: _ReplayRequest
) -> tuple[Mapping[str, int], list[str]]:
    replayed: Counter[str] = Counter()
    errors = []
    for event_id in request.event_ids:
        if not _EVENT_ID.fullmatch(event_id):
            errors.append(f"no event {event_id[:100]!r} is kept; that is not the id of an event")
            continue
        try:
            replayed.update(await client.replay(event_id, request.to or None))
        except Refused as error:
            if error.name != _UNKNOWN_EVENT:
                raise
            errors.append(error.detail)
    return dict(sorted(replayed.items())), errors


def _show(result: _Result, *, json_output: bool) -> None:
    if json_output:
        sys.stdout.write(dump_json({"replayed": result.replayed}) + "\n")
    else:
        for sink, number in result.replayed.items():
            sys.stdout.write(f"{sink}: {number} {'event' if number == 1 else 'events'} replayed\n")
    sys.stdout.flush()


def _warn(result: _Result) -> None:
    warnings = list(result.errors)
    if not result.replayed and not warnings:
        warnings.append("no dead letter matches, nothing was replayed")
    warnings += [
        f"the sink {name!r} is not configured; its events wait for it, three days at most"
        for name in result.absent
    ]
    if result.replayed and not result.is_served:
        warnings.append("no daemon is running; they are sent once `poller run` is started")
    for warning in warnings:
        sys.stderr.write(f"poller: {warning}\n")
