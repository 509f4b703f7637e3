"""`poller show`: an operation or a message, its events, and why one was not delivered."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, cast

import typer
from anyio import run

from poller.build import make_caller, make_client
from poller.cli.failures import EXIT_TROUBLE, fail
from poller.cli.formatting import progress
from poller.cli.messages.printing import print_csv, print_json, print_tables
from poller.cli.messages.reading import Findings, Reader, describe
from poller.cli.operation_detail import print_facts, print_operation
from poller.cli.options import Config, Json, Overrides, Url, Version, watchable_ids
from poller.cli.session import Target, with_daemon
from poller.clock import wall_clock
from poller.comms.errors import CommsError
from poller.comms.ids import InvalidId, check_operation_id
from poller.comms.kinds import DEFAULT_KIND, KINDS, KindSpec, UnknownKind, kind_named
from poller.control.client import ControlClient
from poller.control.errors import ControlError, UnknownOperation, WrongKind
from poller.server.documents import OperationDocument, OperationStoryDocument
from poller.server.views import show_progress
from poller.settings import Settings
from poller.text import dump_json, printable
from poller.tracking.privacy import Addresses
from poller.tracking.progress import read_progress


def command(
    operation_id: Annotated[
        str, typer.Argument(metavar="ID", help="Id of an operation or a message.")
    ],
    events: Annotated[
        int,
        typer.Option(
            "--events", metavar="N", min=0, max=1000, help="How many of the latest events to show."
        ),
    ] = 20,
    messages: Annotated[
        bool, typer.Option("--messages", help="Also print its errors by code, and its messages.")
    ] = False,
    failed: Annotated[
        bool, typer.Option("--failed", help="As --messages, but only messages that failed.")
    ] = False,
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            metavar="KIND",
            help=f"Kind of the operation, where no daemon knows it: {', '.join(KINDS)}.",
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
) -> int:
    """Show an operation or a message: its state, its events, and why one was not delivered.

    With --messages or --failed also print why messages of an operation failed, and the status of
    each. These are read from the API, with or without a daemon. Exits with 1 where the API did
    not return all of them.
    """
    (checked,) = watchable_ids([operation_id])
    choice = message_choice(
        checked, messages=messages, failed=failed, kind=kind, csv=csv, json_output=json_output
    )
    target = Target(url, config, overrides)
    if choice is not None:
        return show_messages(target, checked, choice=choice, events=events)
    return show_operation(target, checked, events=events, json_output=json_output)


def show_operation(target: Target, operation_id: str, *, events: int, json_output: bool) -> int:
    """Print an operation with its last `events`; returns the exit code.

    :raises SettingsError: where the settings cannot be used.
    :raises ControlError: where the daemon does not answer, or does not know it.
    """

    async def fetch(client: ControlClient) -> OperationStoryDocument:
        return await client.operation(operation_id, events=events)

    story = with_daemon(target, fetch)
    if json_output:
        sys.stdout.write(dump_json(story) + "\n")
    else:
        print_operation(story, wall_clock())
    sys.stdout.flush()
    return 0


class Form(StrEnum):
    """The output format."""

    TABLES = "tables"
    JSON = "json"
    CSV = "csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageChoice:
    """Which messages to print, and how; `kind` is None if the command line does not name one."""

    only_failed: bool
    kind: KindSpec | None
    form: Form


def message_choice(
    watchable: str, *, messages: bool, failed: bool, kind: str | None, csv: bool, json_output: bool
) -> MessageChoice | None:
    """Read the options; None if no messages are requested.

    :raises typer.BadParameter: where options contradict each other, naming one.
    """
    if not (messages or failed):
        for given, option in ((csv, "--csv"), (kind is not None, "--kind")):
            if given:
                raise typer.BadParameter("requires --messages or --failed", param_hint=option)
        return None
    if csv and json_output:
        raise typer.BadParameter("choose one of --csv and --json", param_hint="--csv")
    if messages and failed:
        raise typer.BadParameter(
            "--messages shows all and --failed those that failed; choose one", param_hint="--failed"
        )
    try:
        check_operation_id(watchable)
        spec = None if kind is None else kind_named(kind)
    except InvalidId as error:
        raise typer.BadParameter(str(error), param_hint="ID") from None
    except UnknownKind as error:
        raise typer.BadParameter(str(error), param_hint="--kind") from None
    form = Form.CSV if csv else Form.JSON if json_output else Form.TABLES
    return MessageChoice(only_failed=failed, kind=spec, form=form)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What was found: `story` is the daemon's document, None if only the API was queried."""

    story: OperationStoryDocument | None
    operation: Mapping[str, Any]
    findings: Findings


def show_messages(target: Target, operation_id: str, *, choice: MessageChoice, events: int) -> int:
    """Print the status of the messages of an operation; returns the exit code.

    A running daemon adds what it knows of the operation. Messages and errors come from the API,
    one request at a time. Returns 1 where something could not be read.

    :raises SettingsError: where the settings cannot be used, or hold no credentials.
    :raises EgressError: where a proxy or certificate variable cannot be used.
    :raises ControlError: where the daemon at `--url` does not answer.
    """
    settings = target.settings("api", "polling", "server", "log")
    try:
        known = run(_read, target, settings, operation_id, choice, events)
    except CommsError as error:
        fail(describe(error), EXIT_TROUBLE)
    match choice.form:
        case Form.CSV:
            print_csv(known.findings)
        case Form.JSON:
            print_json(known.operation, known.findings)
        case Form.TABLES:
            _print_head(known)
            sys.stdout.flush()
            print_tables(known.findings, wall_clock())
    sys.stdout.flush()
    is_whole = known.findings.breakdown["complete"]
    if not is_whole:
        _say("the API did not return all of it; messages may be missing")
    elif not known.findings.rows:
        _say("no message failed" if choice.only_failed else "no messages")
    return 0 if is_whole else EXIT_TROUBLE


async def _read(
    target: Target, settings: Settings, operation_id: str, choice: MessageChoice, events: int
) -> _Known:
    async with make_client(settings) as client:
        story = await _ask_daemon(target, settings, operation_id, events)
        kind = _kind_of(choice, story)
        reader = Reader(
            make_caller(settings, client),
            kind,
            operation_id,
            addresses=Addresses(settings.polling.include_addresses),
            say=_say,
        )
        operation: Mapping[str, Any]
        if story is None:
            found = await reader.operation()
            operation = {
                "id": operation_id,
                "kind": kind.name,
                "status": found.status,
                "snapshot": found.raw,
                "counters": dict(found.counters),
                "progress": show_progress(read_progress(kind, found.counters), None),
            }
        else:
            operation = cast("Mapping[str, Any]", story)
        findings = await (reader.failed() if choice.only_failed else reader.everything())
        return _Known(story=story, operation=operation, findings=findings)


async def _ask_daemon(
    target: Target, settings: Settings, operation_id: str, events: int
) -> OperationStoryDocument | None:
    """Return the daemon's document; None if it does not know the id, or no daemon runs.

    :raises ControlError: where the daemon at `--url` does not answer.
    """
    named = target.named()
    try:
        address = target.address(settings.server)
        async with ControlClient(address, token=settings.server.token) as client:
            return await client.operation(operation_id, events=events)
    except ControlError as error:
        if named is not None and not isinstance(error, UnknownOperation):
            raise
        _say(f"{str(error).partition('; ')[0]}; what follows is from the API alone")
        return None


def _kind_of(choice: MessageChoice, story: OperationStoryDocument | None) -> KindSpec:
    if choice.kind is not None:
        if story is not None and story["kind"] != choice.kind.name:
            raise WrongKind(story["id"], requested=choice.kind.name, known=story["kind"])
        return choice.kind
    if story is not None:
        return kind_named(story["kind"])
    _say(f"assuming an operation of kind {DEFAULT_KIND.name}; set another one with --kind")
    return DEFAULT_KIND


def _print_head(known: _Known) -> None:
    if known.story is not None:
        print_operation(known.story, wall_clock())
        return
    operation = cast("OperationDocument", known.operation)
    facts = [
        ("operation", operation["id"]),
        ("kind", operation["kind"]),
        ("status", printable(operation["status"] or "")),
    ]
    if text := progress(operation):
        facts.append(("progress", printable(text)))
    print_facts(facts)


def _say(text: str) -> None:
    sys.stderr.write(f"poller: {text}\n")
    sys.stderr.flush()
