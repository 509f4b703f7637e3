"""The documents of the control API, as types: they check what is built, and describe it.

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
    """An error in one member, parameter or header."""

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
    """The progress of its messages; each message counts once, whichever way the vendor counts."""

    total: Annotated[int | None, Field(description="Null where the API does not report it.")]
    done: Annotated[int, Field(description="Messages that will not change any more.")]
    failed: Annotated[int, Field(description="Of these, those that failed.")]
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
    """An operation or a message, in the state that the poller has stored."""

    id: str
    kind: str
    labels: dict[str, str]
    group: Annotated[str | None, Field(description="The group that counts it.")]
    traceparent: Annotated[
        str | None, Field(description="W3C Trace Context: its events carry this trace.")
    ]
    tracestate: Annotated[str | None, Field(description="Goes with `traceparent`.")]
    account: str
    source: Annotated[str, Field(description="Where the API serves it; `source` of its events.")]
    phase: Annotated[PhaseName, Field(description="The phase of the watch.")]
    outcome: Annotated[OutcomeName | None, Field(description="How it ended; null until then.")]
    status: Annotated[str | None, Field(description="The last observed status.")]
    snapshot: Annotated[
        dict[str, Any] | None,
        Field(
            description="The last answer of the API: for an operation as received, for a message "
            "without content and addresses."
        ),
    ]
    counters: Annotated[
        dict[str, int],
        Field(
            description="For an operation the counters in its `stats`; for a message its attempts "
            "by status; for a group message its receipts. They are the sum of the deltas of its "
            "events, plus changes that no event has reported yet. An absent one counts as 0."
        ),
    ]
    progress: ProgressDocument
    sequence: Annotated[int, Field(description="The number of the last event, 0 before the first.")]
    registeredAt: Instant
    observedAt: Instant | None
    endedAt: Instant | None
    nextLookAt: Annotated[
        Instant | None, Field(description="The next poll; null once it is not polled any more.")
    ]


class OperationsDocument(TypedDict):
    """A page of operations and messages, the latest registration first unless `sort` is given."""

    operations: list[OperationDocument]
    next: Annotated[str | None, Field(description="The `cursor` of the next page, if any.")]


class DeliveryDocument(TypedDict):
    """The delivery of one event to one sink."""

    sink: str
    state: Literal["waiting", "blocked", "delivered", "dead"]
    blockedBy: Annotated[
        str | None, Field(description="The event of the same subject that must be delivered first.")
    ]
    sinkState: Annotated[
        SinkStateName | None,
        Field(description="Null if the sink is no longer configured."),
    ]
    sinkError: Annotated[
        str | None, Field(description="The last error of the sink, possibly for another event.")
    ]
    attempts: int
    lastStatus: int | None
    lastError: str | None
    nextAttemptAt: Annotated[Instant | None, Field(description="Null if no attempt is planned.")]
    doneAt: Instant | None


class MemberCountsDocument(TypedDict):
    """How many members a group has, by how they ended."""

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
    """The events of an operation, a message or a group."""

    events: Annotated[
        list[TimelineEventDocument],
        Field(description="The latest ones, in the order of their recording."),
    ]
    earlierEvents: Annotated[int, Field(description="How many precede those in `events`.")]
    pruned: Annotated[bool, Field(description="Whether retention has removed its events.")]


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
        GroupStateName,
        Field(description="Sealed: no more members join. Ended: all its members have ended."),
    ]
    labels: Annotated[dict[str, str], Field(description="Those that all members share.")]
    account: str
    source: Annotated[str, Field(description="`source` of its events.")]
    operations: MemberCountsDocument
    expected: Annotated[
        int | None, Field(description="The number of members at which it is sealed.")
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
    """The result of one item: status 201 or 200 as for a single registration, else its problem."""

    id: str | None
    status: int
    phase: NotRequired[PhaseName]
    outcome: NotRequired[OutcomeName | None]
    problem: NotRequired[ProblemDocument]


class BulkResultDocument(TypedDict):
    """One result for each item, in the order of the items."""

    results: list[BulkItemDocument]


class SinkDocument(TypedDict):
    """A sink that is configured, or for which events still wait."""

    name: str
    state: SinkStateName
    configured: bool
    since: Instant
    failures: Annotated[int, Field(description="Failed attempts in a row.")]
    lastStatus: int | None
    lastError: Annotated[
        str | None, Field(description="Of the last attempt; null only if the state is ok.")
    ]
    nextAttempt: Annotated[
        Instant | None,
        Field(description="The earliest next attempt; null if none is planned."),
    ]
    refused: Annotated[int, Field(description="Events that it has refused since it was last ok.")]
    answered: Annotated[
        int, Field(description="Events sent since it was last ok, `refused` included.")
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
    """An event that could not be delivered to a sink and was given up."""

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
    """A page of dead letters, in the order in which their events were recorded."""

    deadLetters: list[DeadLetterDocument]
    next: Annotated[str | None, Field(description="The `cursor` of the next page, if any.")]


class ReplayedDeadLettersDocument(TypedDict):
    """How many dead letters are sent again, by sink."""

    replayed: dict[str, int]
    next: Annotated[
        str | None,
        Field(description="The `cursor` of the next request; null if no more are selected."),
    ]


class ReplayedDocument(TypedDict):
    """The sinks to which the event is sent again."""

    event: str
    sinks: list[str]


class SummaryDocument(TypedDict):
    """Counts of operations and messages; those that retention has removed are not counted."""

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
    watching: Annotated[int, Field(description="Of these, those that have not ended.")]
    withFailures: Annotated[int, Field(description="Of these, those with failed recipients.")]
    recipients: Annotated[int, Field(description="Recipients, as far as the API reports them.")]
    done: int
    failed: int


class TotalsDocument(TypedDict):
    """The sums, the most failed recipients first."""

    totals: list[TotalDocument]
    omitted: Annotated[int, Field(description="How many values `limit` left out.")]


class LoopDocument(TypedDict):
    """A loop of the daemon; `secondsSinceTurn` is null before its first iteration."""

    name: str
    turning: bool
    secondsSinceTurn: float | None


class HealthDocument(TypedDict):
    """Whether the loops run."""

    status: Literal["ok", "hanging"]
    version: str
    loops: list[LoopDocument]


class DegradedDocument(TypedDict):
    """Trouble that does not prevent registrations."""

    what: str
    since: Instant
    hint: str


class ReadinessDocument(TypedDict):
    """Whether a registration can be acknowledged now; if not, `reason` says why."""

    status: Literal["ready", "degraded", "unready"]
    version: str
    reason: str | None
    degraded: list[DegradedDocument]
