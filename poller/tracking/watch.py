"""The state of one watch: everything that tracking remembers between two polls.

A watch is of an operation or of a message. They differ only in their tables (`lifecycle`) and in
the requests that are made for them (`NextRequest`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Self

from poller.comms.decoding import JsonObject
from poller.comms.ids import is_message_id
from poller.comms.kinds import KindSpec, kind_named
from poller.tracking.breakdown.state import Breakdown
from poller.tracking.forecast import Look
from poller.tracking.progress import (
    NO_PROGRESS,
    Progress,
    Recipients,
    delta_between,
    read_progress,
    read_receipts,
)
from poller.tracking.trace import Trace


class ResourceType(StrEnum):
    """What is watched."""

    OPERATION = "operation"
    MESSAGE = "message"


class NextRequest(StrEnum):
    """What the next poll requests."""

    OPERATION = "operation"
    SCHEDULE = "schedule"
    """Messages of a scheduled operation: only messages say when they will be sent."""
    MESSAGE = "message"
    RECEIPTS = "receipts"
    """The receipts of a group message, one for each recipient: the message only says `GROUP`."""
    BREAKDOWN = "breakdown"
    """The next page of the breakdown of an operation that has ended."""


class Phase(StrEnum):
    """The phase of a watch."""

    ACTIVE = "active"
    SETTLING = "settling"
    """Completed or delivered, and polled slowly until its receipts are in."""
    EXPLAINING = "explaining"
    """Its final event was emitted, and the breakdown is being read."""
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


WATCHED_PHASES: Final = frozenset({Phase.ACTIVE, Phase.SETTLING, Phase.EXPLAINING})
"""The phases in which an operation or message is polled."""


class SortOrder(StrEnum):
    """The order of a list."""

    REGISTERED = "registered"
    """The latest registration first."""
    FAILED = "failed"
    """The most failed recipients first; those without any are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountScope:
    """The account that operations belong to: one daemon serves one scope.

    `base_url` has no slash at its end. `id` is that of the scope's row in the store, 0 where it was
    not read from one; it is not part of the scope's identity, so it is not compared.
    """

    account: str
    base_url: str
    id: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmittedState:
    """What events have already reported: the next change is measured against this."""

    status: str | None = None
    counters: Mapping[str, int] = field(default_factory=dict)
    sequence: int = 0
    progress_at: datetime | None = None
    """When the last progress was recorded."""
    attempts: tuple[str, ...] = ()
    """Of a message: the statuses of its attempts, the first attempt first."""
    alerts: tuple[str, ...] = ()
    """The names of the alert rules that fired."""


class HintStrength(StrEnum):
    """Whether a hint of the vendor names the watch that it wakes."""

    INDIRECT = "indirect"
    """It names a message, and wakes the operation of the message."""
    DIRECT = "direct"
    """It names the watch itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """A hint that was taken for a watch and that no poll has answered yet."""

    at: datetime
    strength: HintStrength


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFoundStreak:
    """Consecutive refusals and failures: not found, rejected, or without a usable answer.

    While the breakdown is read, `not_found` counts failures, `rejected` answers that make no sense.
    """

    not_found: int = 0
    not_found_since: datetime | None = None
    rejected: int = 0
    failed: int = 0
    """Requests that failed, or whose answer made no sense."""

    @property
    def is_empty(self) -> bool:
        """True where the last answer was a good one, or none has come."""
        return not (self.not_found or self.rejected or self.failed)


@dataclass(frozen=True, slots=True, kw_only=True)
class NextPoll:
    """When to poll again.

    `wait` is the current backoff in seconds, before jitter; 0 before the first poll. `set_at` is
    the moment at which `due_at` was set: one in the future means that the clock went back, and
    the row is due now. A hint makes `due_at` earlier and leaves `set_at`.
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
    moved_at: datetime | None = None
    """When the first answer arrived that showed this status and these counters."""
    updated_at: datetime | None = None
    """The last plausible `updatedAt`."""
    created_at: datetime | None = None
    left_scheduled_at: datetime | None = None
    scheduled_for: datetime | None = None
    """The earliest known send time of what is scheduled."""
    schedule_read_at: datetime | None = None
    """When the schedule was requested; None where it never was."""
    looks: tuple[Look, ...] = ()
    """The last observations of its counters, the oldest first, for the forecast."""
    emitted: EmittedState = field(default_factory=EmittedState)
    not_found_streak: NotFoundStreak = field(default_factory=NotFoundStreak)
    hint: Hint | None = None
    """The last hint, until an answer arrives whose request was begun after it."""
    group: str | None = None
    """The group that it is a member of."""
    trace: Trace | None = None
    """The trace context of its events."""
    wants_breakdown: bool | None = None
    """Whether to read the breakdown, from the registration; None: the settings decide."""
    breakdown: Breakdown | None = None
    """The stored state of the breakdown."""

    @property
    def resource_type(self) -> ResourceType:
        """What is watched, read from the id."""
        return ResourceType.MESSAGE if is_message_id(self.id) else ResourceType.OPERATION

    @property
    def next_request(self) -> NextRequest:
        """What the next poll requests."""
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
    def known_counters(self) -> Mapping[str, int]:
        """The last observed counters, or the last emitted ones where the snapshot was pruned."""
        return self.emitted.counters if self.snapshot is None else self.counters

    @property
    def unemitted(self) -> dict[str, int]:
        """The signed changes of counters that were not emitted yet."""
        if self.snapshot is None:
            return {}
        return delta_between(self.emitted.counters, self.counters)

    @property
    def progress(self) -> Progress:
        """The progress of its recipients. The counters of a single message count its attempts."""
        if self.resource_type is ResourceType.OPERATION:
            return read_progress(self.kind_spec, self.counters)
        return read_receipts(self.counters) if self.status == "GROUP" else NO_PROGRESS

    @property
    def recipients(self) -> Recipients:
        """How many recipients are done, also where the snapshot was pruned. A message has one."""
        if self.resource_type is ResourceType.OPERATION:
            progress = read_progress(self.kind_spec, self.known_counters)
        elif self.status == "GROUP":
            progress = read_receipts(self.known_counters)
        else:
            return Recipients(
                total=1,
                done=int(self.outcome not in {None, Outcome.LOST}),
                failed=int(self.outcome is Outcome.FAILED),
            )
        return Recipients(total=progress.total or 0, done=progress.done, failed=progress.failed)

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
        """True while it must be polled."""
        return self.phase in WATCHED_PHASES

    @property
    def is_final(self) -> bool:
        """True where the vendor reported the final state."""
        return self.outcome not in {None, Outcome.LOST}

    def evolve(self, **changes: Any) -> Self:  # noqa: ANN401 - `replace` checks the names at run time
        """Return a copy with these fields changed."""
        return replace(self, **changes)
