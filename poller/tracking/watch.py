"""The state of one watched operation: everything tracking needs to remember between two looks."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from poller.comms.kinds import Kind, kind_named
from poller.comms.models import JsonObject
from poller.tracking.counters import delta_between
from poller.tracking.forecast import Look

__all__ = ["Absence", "Emitted", "Home", "Outcome", "Phase", "Schedule", "Watch"]


class Phase(StrEnum):
    """Where a watch stands."""

    ACTIVE = "active"
    SETTLING = "settling"
    """Completed, and looked at slowly until its receipts are in."""
    ENDED = "ended"
    FORGOTTEN = "forgotten"


class Outcome(StrEnum):
    """How a watch ended."""

    COMPLETED = "completed"
    CANCELED = "canceled"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """Whose operation it is: one daemon serves one home. `base_url` has no slash at its end."""

    account: str
    base_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Emitted:
    """What the events so far have told: the next change is measured against this."""

    status: str | None = None
    counters: Mapping[str, int] = field(default_factory=dict)
    sequence: int = 0
    progress_at: datetime | None = None
    """When the last `operation.progress` was recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """Answers in a row that said that there is no such operation, or that the request is bad."""

    not_found: int = 0
    not_found_since: datetime | None = None
    rejected: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
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
    """One watched operation. `snapshot` is the last accepted answer as the API gave it."""

    id: str
    kind: str
    home: Home
    labels: Mapping[str, str]
    registered_at: datetime
    schedule: Schedule
    phase: Phase = Phase.ACTIVE
    outcome: Outcome | None = None
    ended_at: datetime | None = None
    settle_until: datetime | None = None
    snapshot: JsonObject | None = None
    counters: Mapping[str, int] = field(default_factory=dict)
    """Those of `snapshot`."""
    observed_at: datetime | None = None
    updated_at: datetime | None = None
    """The last believable `updatedAt`."""
    created_at: datetime | None = None
    left_scheduled_at: datetime | None = None
    looks: tuple[Look, ...] = ()
    """The last looks at its counters, the oldest first, for the forecast."""
    emitted: Emitted = field(default_factory=Emitted)
    absence: Absence = field(default_factory=Absence)

    @property
    def status(self) -> str | None:
        """The last observed status, or the last emitted one where the snapshot was pruned."""
        return self.emitted.status if self.snapshot is None else self.snapshot["status"]

    @property
    def unemitted(self) -> dict[str, int]:
        """The signed changes of counters that no event has told yet."""
        if self.snapshot is None:
            return {}
        return delta_between(self.emitted.counters, self.counters)

    @property
    def source(self) -> str:
        """The CloudEvents source: where the API serves this operation."""
        return f"{self.home.base_url}/{kind_named(self.kind).path}/Operations/{self.id}"

    @property
    def row(self) -> Kind:
        """The row of the table of kinds."""
        return kind_named(self.kind)

    @property
    def is_watched(self) -> bool:
        """True while somebody must look at it."""
        return self.phase in {Phase.ACTIVE, Phase.SETTLING}

    @property
    def is_final(self) -> bool:
        """True where the vendor said its last word: completed or canceled."""
        return self.outcome in {Outcome.COMPLETED, Outcome.CANCELED}

    def evolve(self, **changes: Any) -> Self:  # noqa: ANN401 - `replace` checks the names at run time
        """Return a copy with these fields changed."""
        return replace(self, **changes)
