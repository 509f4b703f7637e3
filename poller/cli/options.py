"""Options that several commands share, and the functions that check their values."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from poller import __version__
from poller.comms.ids import InvalidId, check_watchable_id
from poller.comms.kinds import DEFAULT_KIND, KINDS, UnknownKind, kind_named
from poller.tracking.registration import (
    BadRegistration,
    Defaults,
    Registration,
    check_group_name,
    check_labels,
    check_trace,
    kind_of,
)
from poller.tracking.trace import Trace

_SETTINGS: Final = "Settings"


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"comms-poller {__version__}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option(
        "--version", callback=_show_version, is_eager=True, help="Print the version and exit."
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="TOML file with settings; else $POLLER_CONFIG.",
        rich_help_panel=_SETTINGS,
        show_default=False,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="One setting, such as polling.max_interval=30s. Repeatable; refuses secrets.",
        rich_help_panel=_SETTINGS,
        show_default=False,
    ),
]
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="Where the daemon listens: http://…, https://… or unix:/path; "
        "else $POLLER_URL, else server.listen.",
        rich_help_panel=_SETTINGS,
        show_default=False,
    ),
]
Ids = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="ID",
        help="Ids of operations (comms_operation_…) or messages (comms_message_…).",
        show_default=False,
    ),
]
KindName = Annotated[
    str,
    typer.Option(
        "--kind",
        metavar="KIND",
        help=f"Kind of the operations: {', '.join(KINDS)}. A message needs none.",
    ),
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="K=V",
        help="Label for all of these; their events carry it. Repeatable.",
        show_default=False,
    ),
]
Group = Annotated[
    str | None,
    typer.Option(
        "--group",
        metavar="NAME",
        help="Make these members of a group.",
        show_default=False,
    ),
]
Timeout = Annotated[
    str | None,
    typer.Option(
        "--timeout",
        metavar="DURATION",
        help="Give up after this time (such as 90s or 2h) and exit 4.",
        show_default=False,
    ),
]

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
SinkName = Annotated[
    str | None,
    typer.Option("--sink", metavar="NAME", help="Only for this sink.", show_default=False),
]
OperationId = Annotated[
    str | None,
    typer.Option(
        "--operation", metavar="ID", help="Only for this operation or message.", show_default=False
    ),
]
Limit = Annotated[
    int, typer.Option("--limit", metavar="N", min=1, help="How many to list at most.")
]
Breakdown = Annotated[
    bool | None,
    typer.Option(
        "--breakdown/--no-breakdown",
        help="After the end, read which messages failed and why (polling.breakdown).",
        show_default=False,
    ),
]
Traceparent = Annotated[
    str | None,
    typer.Option(
        "--traceparent",
        metavar="TRACE",
        help="W3C Trace Context: their events and webhooks carry this trace.",
        show_default=False,
    ),
]
Tracestate = Annotated[
    str | None,
    typer.Option(
        "--tracestate",
        metavar="STATE",
        help="The tracestate that goes with --traceparent.",
        show_default=False,
    ),
]
Since = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="TIME",
        help="Only events recorded at or after TIME: RFC 3339, or how long ago (2h).",
        show_default=False,
    ),
]
Until = Annotated[
    str | None,
    typer.Option(
        "--until",
        metavar="TIME",
        help="Only events recorded before TIME: RFC 3339, or how long ago (2h).",
        show_default=False,
    ),
]


def group_named(name: str, *, option: str = "--group") -> str:
    """Check the name of a group, which is the value of this option or argument.

    :raises typer.BadParameter: where it cannot be one.
    """
    try:
        return check_group_name(name)
    except BadRegistration as error:
        raise typer.BadParameter(error.fault, param_hint=option) from None


def defaults_of(
    *,
    kind: str,
    labels: Sequence[str] | None,
    breakdown: bool | None = None,
    group: str | None = None,
    trace: Trace | None = None,
) -> Defaults:
    """Read the options that apply to every registration.

    :raises typer.BadParameter: naming the first thing that is wrong.
    """
    checked = labels_of(labels)
    (name,) = kinds_of([kind])
    own_group = None if group is None else group_named(group)
    return Defaults(kind=name, labels=checked, breakdown=breakdown, group=own_group, trace=trace)


def trace_of(traceparent: str | None, tracestate: str | None) -> Trace | None:
    """Read the options that name a trace.

    :raises typer.BadParameter: naming the one that is wrong.
    """
    if traceparent is None:
        if tracestate is not None:
            raise typer.BadParameter("requires --traceparent", param_hint="--tracestate")
        return None
    try:
        return check_trace(traceparent, tracestate)
    except BadRegistration as error:
        raise typer.BadParameter(error.fault, param_hint=f"--{error.field}") from None


def registrations(ids: Sequence[str], defaults: Defaults) -> list[Registration]:
    """Make registrations of the ids on the command line.

    :raises typer.BadParameter: naming the first thing that is wrong.
    """
    explicit = None if defaults.kind == DEFAULT_KIND_NAME else defaults.kind
    try:
        return [
            Registration(
                id=one,
                kind=kind_of(one, given=explicit, default=defaults.kind),
                labels=defaults.labels,
                breakdown=defaults.breakdown,
                group=defaults.group,
                trace=defaults.trace,
            )
            for one in watchable_ids(ids)
        ]
    except BadRegistration as error:
        raise typer.BadParameter(error.fault, param_hint="--kind") from None


def watchable_ids(ids: Sequence[str]) -> list[str]:
    """Check ids of operations and messages.

    :raises typer.BadParameter: naming the first one that is wrong.
    """
    try:
        return [check_watchable_id(one) for one in ids]
    except InvalidId as error:
        raise typer.BadParameter(str(error), param_hint="ID") from None


def kinds_of(names: Sequence[str]) -> list[str]:
    """Check each `--kind`.

    :raises typer.BadParameter: naming the first one that is wrong.
    """
    try:
        return [kind_named(name).name for name in names]
    except UnknownKind as error:
        raise typer.BadParameter(str(error), param_hint="--kind") from None


def timeout_seconds(text: str | None) -> float | None:
    """Read `--timeout`.

    :raises typer.BadParameter: where it is no duration.
    """
    if text is None:
        return None
    from poller.settings.fields import parse_duration  # noqa: PLC0415 - pydantic is slow

    try:
        return float(parse_duration(text))
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is not a duration; write 90s, 5m or 2h", param_hint="--timeout"
        ) from error


def labels_of(texts: Sequence[str] | None) -> Mapping[str, str]:
    """Read each `--label`.

    :raises typer.BadParameter: naming the first that is wrong.
    """
    labels = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(
                f"{text!r} has no =; write --label campaign=autumn", param_hint="--label"
            )
        labels[name] = value
    try:
        return check_labels(labels)
    except BadRegistration as error:
        raise typer.BadParameter(str(error), param_hint="--label") from None


DEFAULT_KIND_NAME: Final = DEFAULT_KIND.name
