"""`poller show ID --messages` and `--failed`: from the command line to the API and back."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from anyio import run

from poller.cli.control.client import ControlClient
from poller.cli.control.errors import ControlError, UnknownOperation, WrongKind
from poller.cli.control.session import Target
from poller.cli.control.words import progress
from poller.cli.failures import EXIT_TROUBLE, fail
from poller.cli.messages.printing import print_csv, print_json, print_tables
from poller.cli.messages.reading import Findings, Reader, describe
from poller.cli.messages.scope import Form, Scope
from poller.cli.show import print_facts, print_story
from poller.cli.wiring import make_caller, make_client
from poller.comms.errors import CommsError, printable
from poller.comms.kinds import DEFAULT_KIND, KindSpec, kind_named
from poller.engine.clock import wall_clock
from poller.server import schemas
from poller.settings import Settings
from poller.tracking.privacy import Addresses

__all__ = ["show_messages"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What was found: `story` is the daemon's, None where the API alone was asked."""

    story: schemas.OperationStory | None
    operation: Mapping[str, Any]
    findings: Findings


def show_messages(target: Target, operation_id: str, *, scope: Scope, events: int) -> int:
    """Print what became of the messages of an operation; returns the exit code.

    The daemon says what it knows of the operation, where there is one. Messages and errors come
    from the API, one request at a time. Exits with 1 where something could not be read.

    :raises SettingsError: where the settings cannot be used, or hold no credentials.
    :raises EgressError: where a proxy or certificate variable cannot be used.
    :raises ControlError: where the daemon that was named cannot be asked.
    """
    settings = target.settings("api", "polling", "server", "log")
    try:
        known = run(_read, target, settings, operation_id, scope, events)
    except CommsError as error:
        fail(describe(error), EXIT_TROUBLE)
    match scope.form:
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
        _say("the API did not show all of it, so messages may be missing here")
    elif not known.findings.rows:
        _say("no message failed" if scope.only_failed else "no messages")
    return 0 if is_whole else EXIT_TROUBLE


async def _read(
    target: Target, settings: Settings, operation_id: str, scope: Scope, events: int
) -> _Known:
    async with make_client(settings) as client:
        story = await _ask_daemon(target, settings, operation_id, events)
        kind = _kind_of(scope, story)
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
            }
        else:
            operation = cast("Mapping[str, Any]", story)
        findings = await (reader.failed() if scope.only_failed else reader.everything())
        return _Known(story=story, operation=operation, findings=findings)


async def _ask_daemon(
    target: Target, settings: Settings, operation_id: str, events: int
) -> schemas.OperationStory | None:
    """Return what the daemon knows; None where it knows nothing, or nobody named it and is there.

    :raises ControlError: where the daemon that was named cannot be asked.
    """
    named = target.told()
    try:
        address = target.address(settings.server)
        async with ControlClient(address, token=settings.server.token) as client:
            return await client.operation(operation_id, events=events)
    except ControlError as error:
        if named is not None and not isinstance(error, UnknownOperation):
            raise
        _say(f"{str(error).partition('; ')[0]}; what follows is from the API alone")
        return None


def _kind_of(scope: Scope, story: schemas.OperationStory | None) -> KindSpec:
    if scope.kind is not None:
        if story is not None and story["kind"] != scope.kind.name:
            raise WrongKind(story["id"], said=scope.kind.name, known=story["kind"])
        return scope.kind
    if story is not None:
        return kind_named(story["kind"])
    _say(f"taken for an operation of kind {DEFAULT_KIND.name}; --kind says otherwise")
    return DEFAULT_KIND


def _print_head(known: _Known) -> None:
    if known.story is not None:
        print_story(known.story, wall_clock())
        return
    operation = cast("schemas.Operation", known.operation)
    facts = [
        ("operation", operation["id"]),
        ("kind", operation["kind"]),
        ("status", printable(operation["status"] or "")),
    ]
    if said := progress(operation):
        facts.append(("progress", printable(said)))
    print_facts(facts)


def _say(text: str) -> None:
    sys.stderr.write(f"poller: {text}\n")
    sys.stderr.flush()
