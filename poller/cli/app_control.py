"""The command line's second half: the commands that speak to a running daemon."""

from typing import Annotated

import typer

from poller.cli.failures import reporting
from poller.cli.messages.scope import messages_scope
from poller.cli.options import (
    DEFAULT_KIND_NAME,
    Breakdown,
    Config,
    Ids,
    Json,
    KindName,
    Labels,
    Limit,
    OperationId,
    Overrides,
    Since,
    SinkName,
    Until,
    Url,
    Version,
    defaults_of,
    kinds_of,
    labels_of,
    registrations,
    watchable_ids,
)
from poller.comms.kinds import KINDS
from poller.tracking.watch import Outcome, Phase

# Every command imports its work when it runs: `--help` must not wait for a database driver.
# ruff: noqa: PLC0415

__all__ = ["commands"]

commands = typer.Typer()


@commands.command(
    help="Hand operations and messages to the running daemon, which watches them from then on."
    "\n\n"
    "With --stdin each line is an id, or the JSON of a registration. What is printed as watching "
    "or known will not be forgotten. Exits with 1 where one is refused."
)
def add(
    ids: Ids = None,
    stdin: Annotated[
        bool, typer.Option("--stdin", help="Also add what comes on standard input.")
    ] = False,
    kind: KindName = DEFAULT_KIND_NAME,
    label: Labels = None,
    breakdown: Breakdown = None,
    json_output: Json = False,
    url: Url = None,
    config: Config = None,
    overrides: Overrides = None,
    _version: Version = False,
) -> None:
    """Check what the command line names, then add it."""
    defaults = defaults_of(kind=kind, labels=label, breakdown=breakdown)
    wishes = registrations(ids or (), defaults)
    from poller.cli.add import add_operations
    from poller.cli.control.session import Target

    with reporting():
        code = add_operations(
            Target(url, config, overrides),
            wishes,
            stdin=stdin,
            defaults=defaults,
            json_output=json_output,
        )
    raise typer.Exit(code)


@commands.command(
    "list",
    help="List what the running daemon watches or watched, the latest registration on top.",
)
def list_(
    status: Annotated[
        list[str] | None,
        typer.Option("--status", help="Last seen status. Repeatable.", show_default=False),
    ] = None,
    phase: Annotated[
        list[Phase] | None,
        typer.Option("--phase", help="Where the watch stands. Repeatable.", show_default=False),
    ] = None,
    outcome: Annotated[
        list[Outcome] | None,
        typer.Option("--outcome", help="How it ended. Repeatable.", show_default=False),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", help="Of this kind. Repeatable.", show_default=False),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label", metavar="K=V", help="Only with this label. Repeatable.", show_default=False
        ),
    ] = None,
    limit: Limit = 100,
    json_output: Json = False,
    url: Url = None,
    config: Config = None,
    overrides: Overrides = None,
    _version: Version = False,
) -> None:
    """List what is watched."""
    kinds, labels = kinds_of(kind or ()), labels_of(label)
    from poller.cli.control.session import Target
    from poller.cli.operations import list_operations

    with reporting():
        code = list_operations(
            Target(url, config, overrides),
            statuses=status or (),
            kinds=kinds,
            phases=phase or (),
            outcomes=outcome or (),
            labels=labels,
            limit=limit,
            json_output=json_output,
        )
    raise typer.Exit(code)


@commands.command(
    help="Show an operation or a message: how it is, its events, why one did not arrive.\n\n"
    "With --messages or --failed also why an operation's messages failed and what became of each, "
    "read from the API itself, whether a daemon runs or not; exits with 1 where that could not be "
    "read whole."
)
def show(
    operation_id: Annotated[
        str, typer.Argument(metavar="ID", help="Id of an operation or a message.")
    ],
    events: Annotated[
        int, typer.Option("--events", min=0, max=1000, help="The most events to show.")
    ] = 20,
    messages: Annotated[
        bool, typer.Option("--messages", help="Also its errors by code, and its messages.")
    ] = False,
    failed: Annotated[
        bool, typer.Option("--failed", help="As --messages, of the messages that failed only.")
    ] = False,
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            help=f"Kind of the operation, where no daemon can say it: {', '.join(KINDS)}.",
            show_default=False,
        ),
    ] = None,
    csv: Annotated[
        bool, typer.Option("--csv", help="Print those messages as CSV, and nothing else.")
    ] = False,
    json_output: Json = False,
    url: Url = None,
    config: Config = None,
    overrides: Overrides = None,
    _version: Version = False,
) -> None:
    """Show an operation or a message, or an operation's messages."""
    (checked,) = watchable_ids([operation_id])
    scope = messages_scope(
        checked, messages=messages, failed=failed, kind=kind, csv=csv, json_output=json_output
    )
    from poller.cli.control.session import Target

    target = Target(url, config, overrides)
    if scope is not None:
        from poller.cli.messages.command import show_messages

        with reporting():
            code = show_messages(target, checked, scope=scope, events=events)
        raise typer.Exit(code)
    from poller.cli.show import show_operation

    with reporting():
        code = show_operation(target, checked, events=events, json_output=json_output)
    raise typer.Exit(code)


@commands.command(
    help="Stop watching operations and messages. Events that are recorded still go out.\n\n"
    "Exits with 1 where one is not known."
)
def forget(
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="Ids of operations or messages.")],
    json_output: Json = False,
    url: Url = None,
    config: Config = None,
    overrides: Overrides = None,
    _version: Version = False,
) -> None:
    """Forget operations and messages."""
    checked = watchable_ids(ids)
    from poller.cli.control.session import Target
    from poller.cli.operations import forget_operations

    with reporting():
        target = Target(url, config, overrides)
        code = forget_operations(target, checked, json_output=json_output)
    raise typer.Exit(code)


@commands.command(help="Show how each sink is, what waits for it and what it did not take.")
def sinks(
    json_output: Json = False,
    url: Url = None,
    config: Config = None,
    overrides: Overrides = None,
    _version: Version = False,
) -> None:
    """Show sinks."""
    from poller.cli.control.session import Target
    from poller.cli.sinks import show_sinks

    with reporting():
        code = show_sinks(Target(url, config, overrides), json_output=json_output)
    raise typer.Exit(code)


@commands.command(
    help="Ask the running daemon whether it is well: exits with 0 or 1.\n\n"
    "Well is: its loops turn; with --ready: it can take registrations. Trouble with credentials, "
    "the API or a sink is printed and does not count."
)
def health(
    ready: Annotated[
        bool, typer.Option("--ready", help="Ask whether it can take registrations.")
    ] = False,
    json_output: Json = False,
    url: Url = None,
    config: Config = None,
    overrides: Overrides = None,
    _version: Version = False,
) -> None:
    """Check health."""
    from poller.cli.health import check_health

    with reporting():
        code = check_health(
            ready=ready,
            json_output=json_output,
            url=url,
            config=config,
            overrides=overrides or (),
        )
    raise typer.Exit(code)


@commands.command("dead-letters", help="List what could not be delivered and was given up.")
def dead_letters(
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
) -> None:
    """List dead letters."""
    from poller.cli.control.session import Target
    from poller.cli.dead_letters import list_dead_letters

    with reporting():
        code = list_dead_letters(
            Target(url, config, overrides),
            sink=sink,
            operation=operation,
            since=since,
            until=until,
            limit=limit,
            json_output=json_output,
        )
    raise typer.Exit(code)


@commands.command(
    help="Send events again: one by its id, or the dead letters of a sink, an operation, a time."
)
def replay(
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
        typer.Option("--to", metavar="SINK", help="Send EVENT_ID to this sink only. Repeatable."),
    ] = None,
    json_output: Json = False,
    url: Url = None,
    config: Config = None,
    overrides: Overrides = None,
    _version: Version = False,
) -> None:
    """Replay events."""
    from poller.cli.control.session import Target
    from poller.cli.replay import replay_events

    with reporting():
        code = replay_events(
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
    raise typer.Exit(code)
