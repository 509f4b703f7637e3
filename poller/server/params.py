"""The query parameters, checked: an unknown one is an error, a typing mistake widens no filter."""

import re
from typing import Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
)

from poller.comms.kinds import kind_named
from poller.server.schemas import KIND_NAMES, SINK_NAME, WATCHABLE_ID_PATTERN, Outcome, Phase

__all__ = [
    "DeadLetterQuery",
    "EventQuery",
    "OperationQuery",
    "StoryQuery",
    "labels_of",
]

_MANY: Final = 100
_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:")

Label = Annotated[str, Field(pattern=r"^[^:]{1,128}:[\s\S]{0,256}$", examples=["campaign:autumn"])]
Labels = Annotated[
    list[Label],
    Field(max_length=32, description="`name:value`; with several, all must be there."),
]


def _written_out(value: object) -> object:
    if isinstance(value, str) and not _RFC3339.match(value):
        raise ValueError("write it like 2026-11-22T10:00:00Z")
    return value


# pydantic alone would also take seconds since 1970
Moment = Annotated[AwareDatetime, BeforeValidator(_written_out)]
WatchableId = Annotated[str, Field(pattern=WATCHABLE_ID_PATTERN)]
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
        list[Annotated[str, Field(pattern="^[A-Za-z_-]{1,64}$")]],
        Field(
            max_length=_MANY,
            description="The last seen status.",
            examples=[["PROCESSING"], ["FAILED"]],
        ),
    ] = []
    kind: Annotated[list[KindName], Field(max_length=_MANY)] = []
    phase: Annotated[list[Phase], Field(max_length=_MANY)] = []
    outcome: Annotated[list[Outcome], Field(max_length=_MANY)] = []
    label: Labels = []
    cursor: Annotated[WatchableId | None, Field(description="`next` of the page before.")] = None
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
        list[Annotated[str, Field(pattern=r"^[a-z_.]{0,64}\*?$")]],
        Field(
            max_length=_MANY,
            description="`operation.completed`, `message.*`, or `final`: one for each end.",
            examples=[["final"], ["message.*"]],
        ),
    ] = []
    label: Labels = []


class DeadLetterQuery(_Query):
    """Which dead letters to list."""

    sink: Annotated[str | None, Field(pattern=SINK_NAME, max_length=128)] = None
    operation: Annotated[
        WatchableId | None, Field(description="Only of this operation or message.")
    ] = None
    since: Annotated[Moment | None, Field(description="Recorded then or later.")] = None
    until: Annotated[Moment | None, Field(description="Recorded before.")] = None
    cursor: Annotated[
        str | None,
        Field(
            pattern=r"^[0-9]{1,18}\.[a-z][a-z0-9_]{0,127}$",
            description="`next` of the page before.",
        ),
    ] = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


def labels_of(texts: list[str]) -> tuple[tuple[str, str], ...]:
    """Split each `name:value` at its first colon."""
    return tuple((name, value) for name, _, value in (text.partition(":") for text in texts))
