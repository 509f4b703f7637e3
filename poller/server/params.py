"""The query parameters, checked: an unknown one is an error, a typing mistake widens no filter."""

import re
from typing import Annotated, Final, Literal

from fastapi import Header, Path
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
)

from poller.comms.ids import check_watchable_id
from poller.comms.kinds import kind_named
from poller.server.documents import KIND_NAMES, WATCHABLE_ID_PATTERN, Outcome, Phase
from poller.text import parse_instant
from poller.tracking.delivery import FINAL, wants_type
from poller.tracking.lifecycle import EventType

__all__ = [
    "DeadLetterQuery",
    "EventId",
    "EventQuery",
    "LastEventId",
    "OperationQuery",
    "StoryQuery",
    "labels_of",
]

_MANY: Final = 100
_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:")
_LABEL: Final = re.compile(r"[^=]{1,128}=[\s\S]{0,256}|[^:=]{1,128}:[^=]{0,256}")
_STATUS: Final = "[A-Za-z_-]{1,64}"
_SINK: Final = "[a-z][a-z0-9_]{0,127}"
_EVENT_ID: Final = "[0-9A-Za-z_-]{1,100}"
_OPERATION: Final = rf"[0-9]{{1,17}}\.{WATCHABLE_ID_PATTERN.removeprefix('^').removesuffix('$')}"
_DEAD_LETTER: Final = r"[0-9]{1,18}\.[a-z][a-z0-9_]{0,127}"
_LONGEST_SHOWN: Final = 80


def _matching(pattern: str, fault: str) -> tuple[AfterValidator, WithJsonSchema]:
    """Check a text in our own words, and describe it by its pattern."""
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
            f"write {FINAL}, operation.*, message.*, group.*, or one of: {types}"
        )
    return text


def _written_out(value: object) -> object:
    found = parse_instant(value) if isinstance(value, str) and _RFC3339.match(value) else None
    if found is None:
        raise ValueError(
            f"{str(value)[:_LONGEST_SHOWN]!r} is no point in time; "
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
        description="`name=value` (or `name:value`); with several, all must be there.",
    ),
]
# pydantic alone would also take seconds since 1970
Moment = Annotated[AwareDatetime, BeforeValidator(_written_out)]
WatchableId = Annotated[
    str,
    AfterValidator(check_watchable_id),
    WithJsonSchema({"type": "string", "pattern": WATCHABLE_ID_PATTERN}),
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
Status = Annotated[str, *_matching(_STATUS, "is no status; a status is a word like PROCESSING")]
EventPattern = Annotated[
    str,
    AfterValidator(_check_event_type),
    WithJsonSchema(
        {"type": "string", "enum": ["*", FINAL, "operation.*", "message.*", "group.*", *EventType]}
    ),
]
KindName = Annotated[
    str,
    AfterValidator(lambda name: kind_named(name).name),
    WithJsonSchema({"type": "string", "enum": list(KIND_NAMES)}),
]


class _Query(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class OperationQuery(_Query):
    """Which operations and messages to list; several values of one parameter mean any of them."""

    status: Annotated[
        list[Status],
        Field(
            max_length=_MANY,
            description="The last seen status, in upper or lower case: a documented one, or one "
            "that some operation or message has.",
            examples=[["PROCESSING"], ["FAILED"]],
        ),
    ] = []
    kind: Annotated[list[KindName], Field(max_length=_MANY)] = []
    phase: Annotated[list[Phase], Field(max_length=_MANY)] = []
    outcome: Annotated[list[Outcome], Field(max_length=_MANY)] = []
    label: Labels = []
    cursor: Annotated[
        Annotated[str, *_matching(_OPERATION, "is no cursor; send next of the page before")] | None,
        Field(description="`next` of the page before."),
    ] = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class StoryQuery(_Query):
    """How much of the time line to show."""

    events: Annotated[
        int, Field(ge=0, le=1000, description="The most events to show, the latest ones.")
    ] = 100


class EventQuery(_Query):
    """Which events to stream, and from where."""

    start: Annotated[
        Literal["oldest"] | None,
        Field(alias="from", description="From the oldest that is kept; else from now."),
    ] = None
    operation: Annotated[
        list[WatchableId],
        Field(max_length=_MANY, description="Only of these: ids of operations or messages."),
    ] = []
    type: Annotated[
        list[EventPattern],
        Field(
            max_length=_MANY,
            description="`operation.completed`, `message.*`, or `final`: one for each end.",
            examples=[["final"], ["message.*"]],
        ),
    ] = []
    label: Labels = []


class DeadLetterQuery(_Query):
    """Which dead letters to list."""

    sink: Annotated[SinkName | None, Field(description="Only of this sink.")] = None
    operation: Annotated[
        WatchableId | None, Field(description="Only of this operation or message.")
    ] = None
    since: Annotated[Moment | None, Field(description="Recorded then or later.")] = None
    until: Annotated[Moment | None, Field(description="Recorded before.")] = None
    cursor: Annotated[
        Annotated[str, *_matching(_DEAD_LETTER, "is no cursor; send next of the page before")]
        | None,
        Field(description="`next` of the page before."),
    ] = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


def labels_of(texts: list[str]) -> tuple[tuple[str, str], ...]:
    """Split each `name=value` at its first `=`; without one, `name:value` at its first colon."""
    return tuple(
        (name, value)
        for name, _, value in (text.partition("=" if "=" in text else ":") for text in texts)
    )
