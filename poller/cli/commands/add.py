"""`poller add`: register operations and messages with a running daemon."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final

import typer

from poller.cli.logs import configure_logs
from poller.cli.options import (
    DEFAULT_KIND_NAME,
    Breakdown,
    Config,
    Group,
    Ids,
    Json,
    KindName,
    Labels,
    Overrides,
    Traceparent,
    Tracestate,
    Url,
    Version,
    defaults_of,
    registrations,
    trace_of,
)
from poller.cli.output import Results
from poller.cli.session import Target, with_daemon
from poller.cli.stdin import read_lines, read_registration
from poller.control.client import ControlClient
from poller.server.documents import BulkItemDocument
from poller.text import dump_json
from poller.tracking.registration import BadRegistration, Defaults, Registration

_STDIN: Final = 0
_MAX_ITEMS: Final = 10_000
# the daemon accepts bodies of up to 4 MiB
_MAX_BYTES: Final = 3_500_000
_NEW: Final = 201
_KNOWN: Final = 200
_INVALID: Final = 422

Document = dict[str, Any]


def command(
    ids: Ids = None,
    stdin: Annotated[
        bool, typer.Option("--stdin", help="Also add the lines of standard input.")
    ] = False,
    kind: KindName = DEFAULT_KIND_NAME,
    label: Labels = None,
    group: Group = None,
    breakdown: Breakdown = None,
    traceparent: Traceparent = None,
    tracestate: Tracestate = None,
    json_output: Json = False,
    url: Url = None,
    config: Config = None,
    overrides: Overrides = None,
    _version: Version = False,
) -> int:
    """Register operations and messages with the running daemon, which then watches them.

    With --stdin each line is an id, or the JSON of a registration. A registration that is printed
    as watching or known is stored. Exits with 1 where one is refused.
    """
    defaults = defaults_of(
        kind=kind,
        labels=label,
        breakdown=breakdown,
        group=group,
        trace=trace_of(traceparent, tracestate),
    )
    return add_operations(
        Target(url, config, overrides),
        registrations(ids or (), defaults),
        stdin=stdin,
        defaults=defaults,
        json_output=json_output,
    )


def add_operations(
    target: Target,
    requested: Sequence[Registration],
    *,
    stdin: bool,
    defaults: Defaults,
    json_output: bool,
) -> int:
    """Register these, and with `stdin` the lines of standard input; print a result for each.

    A registration that is printed as watching or known is durable. Returns 1 where one was
    refused, else 0.

    :raises typer.UsageError: where there is nothing to add.
    :raises SettingsError: where the settings cannot be used.
    :raises ControlError: where the daemon does not answer.
    """
    if not requested and not stdin:
        raise typer.BadParameter(
            "name operations or messages, or give them with --stdin", param_hint="ID"
        )
    configure_logs(level="warning", form="auto")
    results = Results(json_output=json_output)

    async def add(client: ControlClient) -> None:
        await _register(client, [_document(one) for one in requested], results)
        if stdin:
            await _add_lines(client, results, defaults)

    with_daemon(target, add)
    return results.exit_code


async def _add_lines(client: ControlClient, results: Results, defaults: Defaults) -> None:
    async for lines in read_lines(_STDIN):
        documents = []
        for line in lines:
            try:
                documents.append(_document(read_registration(line, defaults)))
            except BadRegistration as error:
                _refuse_line(line.number, error, results)
        await _register(client, documents, results)


async def _register(client: ControlClient, documents: Sequence[Document], results: Results) -> None:
    for batch in _batches(documents):
        for item in await client.register(batch):
            _add_result(item, results)
        results.flush()


def _batches(documents: Sequence[Document]) -> Iterator[list[Document]]:
    """Split into batches that fit into one request."""
    batch: list[Document] = []
    size = 0
    for document in documents:
        length = len(dump_json(document).encode()) + 1
        if batch and (len(batch) == _MAX_ITEMS or size + length > _MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(document)
        size += length
    if batch:
        yield batch


def _document(registration: Registration) -> Document:
    return {
        "id": registration.id,
        "kind": registration.kind,
        "labels": dict(registration.labels),
        "breakdown": registration.breakdown,
        "group": registration.group,
        **({} if registration.trace is None else registration.trace.members),
    }


def _add_result(item: BulkItemDocument, results: Results) -> None:
    problem = item.get("problem")
    detail: str | None = item.get("outcome")
    if problem is not None:
        hint = problem.get("hint")
        detail = problem["detail"] if hint is None else f"{problem['detail']}; {hint}"
    word = {_NEW: "watching", _KNOWN: "known"}.get(item["status"], "refused")
    results.add(item["id"] or "", word, detail=detail, document=item, bad=word == "refused")


def _refuse_line(number: int, error: BadRegistration, results: Results) -> None:
    document = {
        "id": None,
        "line": number,
        "status": _INVALID,
        "problem": {"status": _INVALID, "detail": str(error)},
    }
    results.add(f"line {number}", "refused", detail=str(error), document=document, bad=True)
    results.flush()
