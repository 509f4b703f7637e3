"""The state of one watch: everything tracking needs to remember between two looks.

What is watched is an operation or a message. They differ by tables (`lifecycle`) and by what is
asked about them (`NextRequest`), and by nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from poller.comms.decoding import JsonObject
from poller.comms.ids import is_message_id
from poller.comms.kinds import KindSpec, kind_named
from poller.tracking.breakdown.state import Breakdown
from poller.tracking.forecast import Look
from poller.tracking.progress import (
    NO_PROGRESS,
    Progress,
    delta_between,
    read_progress,
    read_receipts,
)


class ResourceType(StrEnum):
    """What is watched."""

    OPERATION = "operation"
    MESSAGE = "message"


class NextRequest(StrEnum):
    """What the next look asks for."""

    OPERATION = "operation"
    SCHEDULE = "schedule"
    """Messages of a scheduled operation: only messages say when they will be sent."""
    MESSAGE = "message"
    RECEIPTS = "receipts"
    """How a group message fared with each recipient: the message itself only says `GROUP`."""
    BREAKDOWN = "breakdown"
    """The next page about what failed in an operation that has ended."""


class Phase(StrEnum):
    """Where a watch stands."""

    ACTIVE = "active"
    SETTLING = "settling"
    """Completed or delivered, and looked at slowly until its receipts are in."""
    EXPLAINING = "explaining"
    """Its final event was emitted, and what failed is being read for the breakdown."""
    ENDED = "ended"
    FORGOTTEN = "forgotten"


class Outcome(StrEnum):
    """How a watch ended."""

    COMPLETED = "completed"
    """An operation was processed; a message was delivered, read or received."""
    FAILED = "failed"
    """A message failed or was not delivered."""
    CANCELED = "canceled"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountScope:
    """Whose operations these are: one daemon serves one scope.

    `base_url` has no slash at its end. `id` is that of the scope's row in the store, 0 where it was
    not read from one; it says nothing about the scope itself, so it is not compared.
    """

    account: str
    base_url: str
    id: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmittedState:
    """What the events so far have said: the next change is measured against this."""

    status: str | None = None
    counters: Mapping[str, int] = field(default_factory=dict)
    sequence: int = 0
    progress_at: datetime | None = None
    """When the last progress was recorded."""
    attempts: tuple[str, ...] = ()
    """Of a message: the statuses of its attempts, the first attempt first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFoundStreak:
    """Answers in a row that said that there is no such thing, or that the request is bad.

    While what failed is being read, those that failed to bring the page, or brought nonsense.
    """

    not_found: int = 0
    not_found_since: datetime | None = None
    rejected: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NextPoll:
    """When to look again.

    `wait` is the current backoff in seconds, before jitter; 0 before the first look. `set_at` is
    the moment at which `due_at` was set: one in the future means that the clock went back, and
    the row is due now.
    """

    wait: float
    due_at: datetime
    set_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """One watched operation or message.

    `snapshot` is the last accepted answer: of an operation as the API gave it, of a message its
    public form, without content and addresses.
    """

    id: str
    kind: str
    scope: AccountScope
    labels: Mapping[str, str]
    registered_at: datetime
    next_poll: NextPoll
    phase: Phase = Phase.ACTIVE
    outcome: Outcome | None = None
    ended_at: datetime | None = None
    settle_until: datetime | None = None
    snapshot: JsonObject | None = None
    counters: Mapping[str, int] = field(default_factory=dict)
    """Of an operation those of `snapshot`; of a message its attempts, or receipts, by status."""
    observed_at: datetime | None = None
    updated_at: datetime | None = None
    """The last believable `updatedAt`."""
    created_at: datetime | None = None
    left_scheduled_at: datetime | None = None
    scheduled_for: datetime | None = None
    """The earliest known send time of what is scheduled."""
    schedule_read_at: datetime | None = None
    """When the schedule was asked for; None where it never was."""
    looks: tuple[Look, ...] = ()
    """The last looks at its counters, the oldest first, for the forecast."""
    emitted: EmittedState = field(default_factory=EmittedState)
    not_found_streak: NotFoundStreak = field(default_factory=NotFoundStreak)
    wants_breakdown: bool | None = None
    """What the registration says; None leaves it to the settings."""
    breakdown: Breakdown | None = None
    """How far the reading of what failed has come."""

    @property
    def resource_type(self) -> ResourceType:
        """What is watched: the id says it."""
        return ResourceType.MESSAGE if is_message_id(self.id) else ResourceType.OPERATION

    @property
    def next_request(self) -> NextRequest:
        """What the next look is to ask for."""
        if self.phase is Phase.EXPLAINING:
            return NextRequest.BREAKDOWN
        if self.resource_type is ResourceType.MESSAGE:
            is_group = self.status == "GROUP" and self.snapshot is not None
            return NextRequest.RECEIPTS if is_group else NextRequest.MESSAGE
        is_unread = self.schedule_read_at is None and bool(self.kind_spec.items)
        if self.status == "SCHEDULED" and self.snapshot is not None and is_unread:
            return NextRequest.SCHEDULE
        return NextRequest.OPERATION

    @property
    def status(self) -> str | None:
        """The last observed status, or the last emitted one where the snapshot was pruned."""
        return self.emitted.status if self.snapshot is None else self.snapshot["status"]

    @property
    def unemitted(self) -> dict[str, int]:
        """The signed changes of counters that no event carries yet."""
        if self.snapshot is None:
            return {}
        return delta_between(self.emitted.counters, self.counters)

    @property
    def progress(self) -> Progress:
        """How far its recipients are. The counters of a single message count its attempts."""
        if self.resource_type is ResourceType.OPERATION:
            return read_progress(self.kind_spec, self.counters)
        return read_receipts(self.counters) if self.status == "GROUP" else NO_PROGRESS

    @property
    def source(self) -> str:
        """The CloudEvents source: where the API serves this."""
        folder = "" if self.resource_type is ResourceType.MESSAGE else "Operations/"
        return f"{self.scope.base_url}/{self.kind_spec.path}/{folder}{self.id}"

    @property
    def kind_spec(self) -> KindSpec:
        """The row of the table of kinds."""
        return kind_named(self.kind)

    @property
    def is_watched(self) -> bool:
        """True while somebody must look at it."""
        return self.phase in {Phase.ACTIVE, Phase.SETTLING, Phase.EXPLAINING}

    @property
    def is_final(self) -> bool:
        """True where the vendor said its last word."""
        return self.outcome not in {None, Outcome.LOST}

    def evolve(self, **changes: Any) -> Self:  # noqa: ANN401 - `replace` checks the names at run time
        """Return a copy with these fields changed."""
        return replace(self, **changes)
