"""The documents of the control API, as types: what is built is checked, and described from here.

Instants are RFC 3339 in UTC. Within 1.x members are only added.
"""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, WithJsonSchema
from typing_extensions import TypedDict

Instant = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
PhaseName = Literal["active", "settling", "explaining", "ended", "forgotten"]
GroupStateName = Literal["open", "sealed", "ended"]
SortName = Literal["registered", "failed"]
SinkStateName = Literal["ok", "rejecting", "failing", "down", "disabled"]
OutcomeName = Literal["completed", "failed", "canceled", "lost"]


class FieldErrorDocument(TypedDict):
    """What is wrong with one member, parameter or header."""

    field: str
    message: str


class ProblemDocument(TypedDict):
    """Problem details (RFC 9457). `type` is stable, for programs; the rest is for people."""

    type: str
    title: str
    status: int
    detail: str
    hint: NotRequired[Annotated[str, Field(description="What to do about it.")]]
    errors: NotRequired[list[FieldErrorDocument]]


class ProgressDocument(TypedDict):
    """How far its messages are; each message counts once, whichever way the vendor counts."""

    total: Annotated[int | None, Field(description="Null where the API does not say it.")]
    done: Annotated[int, Field(description="Messages that will not change any more.")]
    failed: Annotated[int, Field(description="Of these, those that an error stopped.")]
    stages: Annotated[
        dict[str, int], Field(description="Messages by state, under the names of the counters.")
    ]
    perSecond: Annotated[
        float | None,
        Field(description="Messages done per second between the last polls; null where unknown."),
    ]
    secondsLeft: Annotated[
        float | None, Field(description="Until all are done at that rate; null where unknown.")
    ]


class OperationDocument(TypedDict):
    """An operation, or a message, as the poller knows it."""

    id: str
    kind: str
    labels: dict[str, str]
    group: Annotated[str | None, Field(description="The group that counts it.")]
    traceparent: Annotated[
        str | None, Field(description="The trace that its events carry on (W3C Trace Context).")
    ]
    tracestate: Annotated[str | None, Field(description="Goes with `traceparent`.")]
    account: str
    source: Annotated[str, Field(description="Where the API serves it; `source` of its events.")]
    phase: Annotated[PhaseName, Field(description="Where the watch stands.")]
    outcome: Annotated[OutcomeName | None, Field(description="How it ended; null until then.")]
    status: Annotated[str | None, Field(description="The last status that was seen.")]
    snapshot: Annotated[
        dict[str, Any] | None,
        Field(
            description="The last answer of the API: of an operation as it gave it, of a message "
            "without content and addresses."
        ),
    ]
    counters: Annotated[
        dict[str, int],
        Field(
            description="Of an operation the counters of its `stats`; of a message its attempts by "
            "status, of a group its receipts. They are the sum of the deltas of its events, and of "
            "changes that no event has reported yet. An absent one counts as 0."
        ),
    ]
    progress: ProgressDocument
    sequence: Annotated[int, Field(description="The number of the last event, 0 before the first.")]
    registeredAt: Instant
    observedAt: Instant | None
    endedAt: Instant | None
    nextLookAt: Annotated[Instant | None, Field(description="Null once nobody looks any more.")]


class OperationsDocument(TypedDict):
    """A page of operations and messages, the latest registration first unless `sort` is given."""

    operations: list[OperationDocument]
    next: Annotated[str | None, Field(description="The `cursor` of the next page, if any.")]


class DeliveryDocument(TypedDict):
    """One event on its way to one sink."""

    sink: str
    state: Literal["waiting", "blocked", "delivered", "dead"]
    blockedBy: Annotated[
        str | None, Field(description="The event of the same subject that must go before it.")
    ]
    sinkState: Annotated[
        SinkStateName | None,
        Field(description="Null where no settings name the sink any more."),
    ]
    sinkError: Annotated[
        str | None, Field(description="The last error of the sink, perhaps with another event.")
    ]
    attempts: int
    lastStatus: int | None
    lastError: str | None
    nextAttemptAt: Annotated[
        Instant | None, Field(description="Null where nothing is tried before something changes.")
    ]
    doneAt: Instant | None


class MemberCountsDocument(TypedDict):
    """How many members a group has, and where they stand."""

    total: int
    completed: Annotated[
        int, Field(description="Watched to their end, whether or not messages failed.")
    ]
    canceled: int
    lost: int
    watching: Annotated[int, Field(description="Those whose final event is not recorded yet.")]


class TimelineEventDocument(TypedDict):
    """An event in the time line of its operation, message or group."""

    id: str
    type: str
    sequence: int
    time: Instant
    final: bool
    status: str | None
    delta: dict[str, int]
    operations: Annotated[
        MemberCountsDocument | None,
        Field(description="The members of a group at that time; null for other subjects."),
    ]
    reason: str | None
    deliveries: list[DeliveryDocument]


class TimelineDocument(TypedDict):
    """What has happened to an operation, a message or a group."""

    events: Annotated[
        list[TimelineEventDocument], Field(description="The latest, the oldest first.")
    ]
    earlierEvents: Annotated[int, Field(description="How many came before those in `events`.")]
    pruned: Annotated[bool, Field(description="Whether retention has taken all but its end.")]


class OperationStoryDocument(OperationDocument, TimelineDocument):
    """An operation or message with its time line."""

    breakdown: Annotated[
        dict[str, Any] | None,
        Field(description="What failed, as in `operation.breakdown`; null where it was not read."),
    ]


class GroupDocument(TypedDict):
    """A group: operations and messages that are counted as one."""

    name: str
    state: Annotated[
        GroupStateName, Field(description="A sealed one takes no more members, an ended one ended.")
    ]
    labels: Annotated[dict[str, str], Field(description="Those that all members share.")]
    account: str
    source: Annotated[str, Field(description="`source` of its events.")]
    operations: MemberCountsDocument
    expected: Annotated[
        int | None, Field(description="The number of members with which it is sealed, or will be.")
    ]
    counters: Annotated[
        dict[str, int],
        Field(description="The sums of the members' counters: `stats` of its events."),
    ]
    progress: ProgressDocument
    sequence: Annotated[int, Field(description="The number of the last event, 0 before the first.")]
    createdAt: Instant
    sealedAt: Instant | None
    endedAt: Instant | None


class GroupsDocument(TypedDict):
    """A page of groups, the latest first."""

    groups: list[GroupDocument]
    next: Annotated[str | None, Field(description="The `cursor` of the next page, if any.")]


class GroupStoryDocument(GroupDocument, TimelineDocument):
    """A group with its timeline."""

    breakdown: Annotated[
        dict[str, Any] | None,
        Field(description="What failed, as in `group.breakdown`; null where it was not read."),
    ]


class BulkItemDocument(TypedDict):
    """What became of one item: 201 and 200 as for a single one, else its problem."""

    id: str | None
    status: int
    phase: NotRequired[PhaseName]
    outcome: NotRequired[OutcomeName | None]
    problem: NotRequired[ProblemDocument]


class BulkResultDocument(TypedDict):
    """One result for each item, in the order of the items."""

    results: list[BulkItemDocument]


class SinkDocument(TypedDict):
    """A sink: one that is configured, or that something still waits for."""

    name: str
    state: SinkStateName
    configured: bool
    since: Instant
    failures: Annotated[int, Field(description="Failed attempts in a row.")]
    lastStatus: int | None
    lastError: Annotated[
        str | None, Field(description="Of the last attempt; null only where the state is ok.")
    ]
    nextAttempt: Annotated[
        Instant | None,
        Field(description="When an event is tried next, at the earliest; null where none is."),
    ]
    refused: Annotated[int, Field(description="Events that it has not taken since it was last ok.")]
    answered: Annotated[
        int, Field(description="Events that were tried since it was last ok, `refused` included.")
    ]
    waiting: int
    dead: int
    oldest: Annotated[
        Instant | None, Field(description="When the longest waiting event was recorded.")
    ]


class SinksDocument(TypedDict):
    """All sinks."""

    sinks: list[SinkDocument]


class DeadLetterDocument(TypedDict):
    """An event that a sink did not take."""

    eventId: str
    operationId: Annotated[
        str, Field(description="What it is about: an operation, a message, or a group by its name.")
    ]
    type: str
    sequence: int
    sink: str
    recordedAt: Instant
    diedAt: Instant
    attempts: int
    lastStatus: int | None
    lastError: str | None


class DeadLettersDocument(TypedDict):
    """A page of dead letters in the order in which their events were recorded."""

    deadLetters: list[DeadLetterDocument]
    next: Annotated[str | None, Field(description="The `cursor` of the next page, if any.")]


class ReplayedDeadLettersDocument(TypedDict):
    """How many dead letters each sink gets again."""

    replayed: dict[str, int]
    next: Annotated[
        str | None,
        Field(description="The `cursor` that goes on; null where no more are chosen."),
    ]


class ReplayedDocument(TypedDict):
    """The sinks that get the event again."""

    event: str
    sinks: list[str]


class SummaryDocument(TypedDict):
    """How many operations and messages are known; what retention has taken is not counted."""

    running: Annotated[int, Field(description="Still watched.")]
    ended: int
    completed: int
    failed: Annotated[int, Field(description="Messages that failed or were not delivered.")]
    canceled: int
    lost: int


class TotalDocument(TypedDict):
    """The sums over the operations and messages of one group, or with one value of a label."""

    value: Annotated[str | None, Field(description="Null for those without one.")]
    operations: Annotated[int, Field(description="Operations and messages, ended or not.")]
    watching: Annotated[int, Field(description="Those of them that have not ended.")]
    withFailures: Annotated[int, Field(description="Those of them with a recipient that failed.")]
    recipients: Annotated[int, Field(description="Recipients, as far as the API says.")]
    done: int
    failed: int


class TotalsDocument(TypedDict):
    """The sums, the most failed recipients first."""

    totals: list[TotalDocument]
    omitted: Annotated[int, Field(description="How many values `limit` left out.")]


class LoopDocument(TypedDict):
    """A loop of the daemon; `secondsSinceTurn` is null before its first turn."""

    name: str
    turning: bool
    secondsSinceTurn: float | None


class HealthDocument(TypedDict):
    """Whether the loops turn."""

    status: Literal["ok", "hanging"]
    version: str
    loops: list[LoopDocument]


class DegradedDocument(TypedDict):
    """Trouble that does not keep a registration from being acknowledged."""

    what: str
    since: Instant
    hint: str


class ReadinessDocument(TypedDict):
    """Whether a registration can be acknowledged now; `reason` says why not."""

    status: Literal["ready", "degraded", "unready"]
    version: str
    reason: str | None
    degraded: list[DegradedDocument]
