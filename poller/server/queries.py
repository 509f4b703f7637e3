"""Query, path and header parameters. Unknown ones are refused: they would silently do nothing."""

import re
from typing import Annotated, Final, Literal

from fastapi import Depends, Header, Path, Request
from fastapi.routing import APIRoute
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
)

from poller.comms.ids import MESSAGE_ID, OPERATION_ID, check_watchable_id
from poller.comms.kinds import KINDS, kind_named
from poller.server.documents import GroupStateName, OutcomeName, PhaseName, SortName
from poller.server.problems import invalid
from poller.text import parse_instant
from poller.tracking.delivery import FINAL, wants_type
from poller.tracking.lifecycle import EventType
from poller.tracking.registration import GROUP_NAME

_MOST_VALUES: Final = 100
_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:")
_LABEL: Final = re.compile(r"[^=]{1,128}=[\s\S]{0,256}|[^:=]{1,128}:[^=]{0,256}")
_STATUS: Final = "[A-Za-z_-]{1,64}"
_SINK: Final = "[a-z][a-z0-9_]*"
_EVENT_ID: Final = "[0-9A-Za-z_-]{1,100}"
_WATCHABLE_ID: Final = f"(?:{OPERATION_ID.pattern}|{MESSAGE_ID.pattern})"
_OPERATION_CURSOR: Final = rf"(?:[0-9]{{1,18}}\.)?[0-9]{{1,17}}\.{_WATCHABLE_ID}"
_BY: Final = r"group|label:.{1,128}"
_GROUP_CURSOR: Final = rf"[0-9]{{1,17}}/{GROUP_NAME.pattern}"
_DEAD_LETTER_CURSOR: Final = rf"[0-9]{{1,18}}\.{_SINK}"
_LONGEST_SHOWN: Final = 80
_NO_CURSOR: Final = "is not a cursor; send `next` of the previous page"


def _matching(pattern: str, fault: str) -> tuple[AfterValidator, WithJsonSchema]:
    """Check a text against a pattern, with our own error message; describe it by the pattern."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(f"{text[:_LONGEST_SHOWN]!r} {fault}")
        return text

    described = {"type": "string", "pattern": f"^({compiled.pattern})$"}
    return AfterValidator(check), WithJsonSchema(described)


def _check_event_type(text: str) -> str:
    if text != FINAL and not any(wants_type([text], one, final=False) for one in EventType):
        types = ", ".join(EventType)
        raise ValueError(
            f"{text[:_LONGEST_SHOWN]!r} matches no event; "
            f"write {FINAL}, operation.*, message.*, group.*, *.alert, or one of: {types}"
        )
    return text


def _parse_instant(value: object) -> object:
    found = parse_instant(value) if isinstance(value, str) and _RFC3339.match(value) else None
    if found is None:
        raise ValueError(
            f"{str(value)[:_LONGEST_SHOWN]!r} is not a point in time; "
            "write it like 2026-11-22T10:00:00Z"
        )
    return found


Label = Annotated[
    str,
    *_matching(_LABEL.pattern, "is not a label; write name=value, such as campaign=autumn"),
    Field(examples=["campaign=autumn"]),
]
Labels = Annotated[
    list[Label],
    Field(
        max_length=32,
        description="`name=value` (or `name:value`); with several, all must match.",
    ),
]
# pydantic alone would also accept seconds since 1970
Instant = Annotated[AwareDatetime, BeforeValidator(_parse_instant)]
WatchableId = Annotated[
    str,
    AfterValidator(check_watchable_id),
    WithJsonSchema({"type": "string", "pattern": f"^{_WATCHABLE_ID}$"}),
]
EventId = Annotated[
    str,
    Path(description="The id of an event."),
    *_matching(_EVENT_ID, "is not the id of an event; GET /v1/operations/{id} shows its events"),
]
LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", max_length=200, description="The last event that was received."),
]
SinkName = Annotated[str, *_matching(_SINK, "is not the name of a sink; GET /v1/sinks lists them")]
GroupName = Annotated[
    str,
    *_matching(
        GROUP_NAME.pattern,
        "is not the name of a group: 1 to 64 letters, digits, '.', '_', ':' and '-', beginning "
        "with a letter or a digit and not with comms_",
    ),
]
Status = Annotated[str, *_matching(_STATUS, "is not a status; a status is a word like PROCESSING")]
EventPattern = Annotated[
    str,
    AfterValidator(_check_event_type),
    WithJsonSchema(
        {
            "type": "string",
            "enum": ["*", FINAL, "operation.*", "message.*", "group.*", "*.alert", *EventType],
        }
    ),
]
KindName = Annotated[
    str,
    AfterValidator(lambda name: kind_named(name).name),
    WithJsonSchema({"type": "string", "enum": list(KINDS)}),
]


DeadLetterPlace = Annotated[str, *_matching(_DEAD_LETTER_CURSOR, _NO_CURSOR)]


class _Query(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class ChosenQuery(_Query):
    """Selects operations and messages; of several values of one parameter any may match."""

    id: Annotated[
        list[WatchableId], Field(max_length=_MOST_VALUES, description="Only those with these ids.")
    ] = []
    status: Annotated[
        list[Status],
        Field(
            max_length=_MOST_VALUES,
            description="The last observed status, in upper or lower case: a documented one, or "
            "one that some operation or message has.",
            examples=[["PROCESSING"], ["FAILED"]],
        ),
    ] = []
    kind: Annotated[list[KindName], Field(max_length=_MOST_VALUES)] = []
    phase: Annotated[list[PhaseName], Field(max_length=_MOST_VALUES)] = []
    outcome: Annotated[list[OutcomeName], Field(max_length=_MOST_VALUES)] = []
    label: Labels = []
    group: Annotated[GroupName | None, Field(description="Only the members of this group.")] = None
    with_failures: Annotated[
        bool,
        Field(alias="withFailures", description="Only those with failed recipients."),
    ] = False
    search: Annotated[
        str,
        Field(
            max_length=128,
            description="A part of the id, or of the name or value of a label, in any case.",
        ),
    ] = ""


class OperationQuery(ChosenQuery):
    """Which operations and messages to list, and in which order."""

    sort: Annotated[
        SortName,
        Field(
            description="`registered`: the latest registration first. `failed`: the most failed "
            "recipients first, and only those with failures. What changes between two pages may "
            "be on both or on neither."
        ),
    ] = "registered"
    cursor: Annotated[
        Annotated[str, *_matching(_OPERATION_CURSOR, _NO_CURSOR)] | None,
        Field(description="`next` of the previous page."),
    ] = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class TotalsQuery(ChosenQuery):
    """Selects the operations and messages to sum up, and what to group them by."""

    by: Annotated[
        str,
        *_matching(_BY, "is not group or label:NAME; write for example label:campaign"),
        Field(description="`group`, or `label:` and the name of a label."),
    ]
    limit: Annotated[int, Field(ge=1, le=1000, description="The most values to show.")] = 100


class GroupQuery(_Query):
    """Selects groups; of several values of one parameter any may match."""

    state: Annotated[list[GroupStateName], Field(max_length=_MOST_VALUES)] = []
    search: Annotated[
        str,
        Field(
            max_length=128,
            description="A part of the name, or of the name or value of a label, in any case.",
        ),
    ] = ""
    cursor: Annotated[
        Annotated[str, *_matching(_GROUP_CURSOR, _NO_CURSOR)] | None,
        Field(description="`next` of the previous page."),
    ] = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class DetailQuery(_Query):
    """How much of the timeline to show."""

    events: Annotated[
        int, Field(ge=0, le=1000, description="How many of the latest events to show.")
    ] = 100


class EventQuery(_Query):
    """Selects events to stream, and where to begin."""

    start: Annotated[
        Literal["oldest"] | None,
        Field(alias="from", description="Begin with the oldest stored event; else from now on."),
    ] = None
    operation: Annotated[
        list[WatchableId],
        Field(max_length=_MOST_VALUES, description="Only for these operations or messages."),
    ] = []
    group: Annotated[
        list[GroupName],
        Field(
            max_length=_MOST_VALUES,
            description="Only for these groups and their members; add `type=group.*` for the "
            "groups alone.",
        ),
    ] = []
    type: Annotated[
        list[EventPattern],
        Field(
            max_length=_MOST_VALUES,
            description="`operation.completed`, `message.*`, or `final`: one event per end.",
            examples=[["final"], ["message.*"]],
        ),
    ] = []
    label: Labels = []


class DeadLetterQuery(_Query):
    """Selects dead letters."""

    sink: Annotated[SinkName | None, Field(description="Only for this sink.")] = None
    operation: Annotated[
        WatchableId | None, Field(description="Only for this operation or message.")
    ] = None
    since: Annotated[Instant | None, Field(description="Recorded then or later.")] = None
    until: Annotated[Instant | None, Field(description="Recorded before.")] = None
    cursor: Annotated[DeadLetterPlace | None, Field(description="`next` of the previous page.")] = (
        None
    )
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


async def _refuse_unknown_parameters(request: Request) -> None:
    """Refuse a query parameter that the route does not have.

    :raises Problem: naming it, and the parameters of the route.
    """
    known = _parameters(request.scope["route"])
    for name in request.query_params:
        if name not in known:
            allowed = f"there are: {', '.join(known)}" if known else "this route has none"
            raise invalid(name, f"there is no such parameter; {allowed}")


KNOWN_PARAMETERS: Final = Depends(_refuse_unknown_parameters)
"""Makes a route refuse query parameters that it does not have."""


def _parameters(route: APIRoute) -> list[str]:
    names: list[str] = []
    for field in route.dependant.query_params:
        model = field.field_info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            names += [found.alias or name for name, found in model.model_fields.items()]
    return names


def labels_of(texts: list[str]) -> tuple[tuple[str, str], ...]:
    """Split each `name=value` at its first `=`; without one, `name:value` at its first colon."""
    return tuple(
        (name, value)
        for name, _, value in (text.partition("=" if "=" in text else ":") for text in texts)
    )
