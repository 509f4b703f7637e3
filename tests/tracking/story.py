"""One watch, answer by answer, with a clock that only the test moves."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from poller.comms.kinds import kind_named
from poller.comms.models import Operation, decode_message, decode_operation
from poller.text import format_instant
from poller.tracking.answer import (
    Answer,
    Decision,
    FailedAnswer,
    FoundAnswer,
    NonsenseAnswer,
    NotFoundAnswer,
    ReceiptsAnswer,
    RejectedAnswer,
    ScheduleAnswer,
    Verdict,
)
from poller.tracking.event import Event
from poller.tracking.observe import observe
from poller.tracking.pacing import Policy
from poller.tracking.registration import Registration, forget, register
from poller.tracking.watch import AccountScope, Watch

ID = "comms_operation_01h9krwprkeee8fzqspvwy6nq8"
MESSAGE_ID = "comms_message_01h9krwprkeee8fzqspvwy6nq8"
HOME = AccountScope(account="AC1", base_url="https://comms.twilio.com/v1")
START = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """Return the moment that many seconds after the start."""
    return START + timedelta(seconds=seconds)


def text_at(seconds: float) -> str:
    """Return that moment as the API writes it."""
    return format_instant(at(seconds))


def new_watch(
    *,
    kind: str = "messages",
    labels: Mapping[str, str] | None = None,
    watched: str = ID,
    breakdown: bool | None = None,
) -> Watch:
    """Return a watch that was registered at the start and never polled."""
    registration = Registration(id=watched, kind=kind, labels=labels or {}, breakdown=breakdown)
    watch, is_new = register(None, registration, scope=HOME, now=START)
    assert is_new
    return watch


class Story:
    """The watch as it stands, the time, and every event so far. Answers take no time."""

    def __init__(
        self,
        policy: Policy | None = None,
        *,
        kind: str = "messages",
        watched: str = ID,
        breakdown: bool | None = None,
    ) -> None:
        self.policy = policy or Policy()
        self.watch = new_watch(kind=kind, watched=watched, breakdown=breakdown)
        self.now = START
        self.events: list[Event] = []

    def wait(self, seconds: float) -> "Story":
        """Let time pass; a negative time sets the clock back."""
        self.now += timedelta(seconds=seconds)
        return self

    def take(self, answer: Answer, *, jitter: float = 0.0) -> Decision:
        """Observe this answer now."""
        decision = observe(self.watch, answer, policy=self.policy, now=self.now, jitter=jitter)
        self.watch = decision.watch
        self.events += decision.events
        return decision

    def see(
        self,
        status: str = "PROCESSING",
        *,
        updated: object = None,
        created: object = None,
        fetched: bool = True,
        begun_at: datetime | None = None,
        **stats: object,
    ) -> Decision:
        """See the operation with this status and these stats."""
        found = self.operation(status, updated=updated, created=created, stats=stats)
        return self.take(
            FoundAnswer(
                found=found,
                fetched=fetched,
                begun_at=begun_at or self.now,
                arrived_at=self.now,
            )
        )

    def see_message(
        self, status: str, *attempts: tuple[str, str, int | None], **members: object
    ) -> Decision:
        """See the message with this status; an attempt is its channel, status and error code."""
        document = {
            "id": MESSAGE_ID,
            "status": status,
            "attempts": [
                {
                    "from": {"channel": channel, "address": "+12065550100"},
                    "to": [{"channel": "PHONE", "address": "+14155551002"}],
                    "status": state,
                    "error": None if code is None else {"code": code, "message": "no luck"},
                }
                for channel, state, code in attempts
            ],
            "content": {"text": "hush"},
            "createdAt": text_at(0),
            **members,
        }
        found = decode_message(document, expected_id=MESSAGE_ID)
        return self.take(FoundAnswer(found=found, begun_at=self.now, arrived_at=self.now))

    def receipts(self, *statuses: str) -> Decision:
        """See the receipts of the recipients of a group."""
        return self.take(ReceiptsAnswer(statuses=statuses, begun_at=self.now, arrived_at=self.now))

    def schedule(self, *seconds: float, created: float = 0) -> Decision:
        """Read messages of the operation, one for each of these send times."""
        document = {"id": MESSAGE_ID, "status": "SCHEDULED", "createdAt": text_at(created)}
        messages = [decode_message({**document, "scheduledFor": text_at(one)}) for one in seconds]
        return self.take(ScheduleAnswer(messages=messages, begun_at=self.now, arrived_at=self.now))

    def operation(
        self, status: str, *, updated: object, created: object, stats: object
    ) -> Operation:
        """Decode a document with these members, as the client does; None leaves a time out."""
        document: dict[str, Any] = {"id": ID, "status": status, "stats": stats}
        times = {"createdAt": created, "updatedAt": updated}
        document |= {name: value for name, value in times.items() if value is not None}
        return decode_operation(document, kind=kind_named(self.watch.kind), expected_id=ID)

    def not_found(self) -> Decision:
        """Get a 404 in the vendor's envelope."""
        return self.take(NotFoundAnswer(begun_at=self.now, arrived_at=self.now))

    def rejected(self) -> Decision:
        """Get a 400 in the vendor's envelope."""
        return self.take(RejectedAnswer(begun_at=self.now, arrived_at=self.now))

    def nonsense(self) -> Decision:
        """Get a document that is not this operation."""
        return self.take(
            NonsenseAnswer(begun_at=self.now, arrived_at=self.now, why="stats is missing")
        )

    def fail(self) -> Decision:
        """Get no answer."""
        return self.take(FailedAnswer(begun_at=self.now, arrived_at=self.now))

    def forget(self) -> None:
        """Stop watching."""
        self.watch = forget(self.watch, now=self.now)

    def register(self, *, kind: str | None = None, **labels: str) -> bool:
        """Register the operation again; return whether watching began with it."""
        registration = Registration(id=ID, kind=kind or self.watch.kind, labels=labels)
        self.watch, is_new = register(self.watch, registration, scope=HOME, now=self.now)
        return is_new

    @property
    def due_in(self) -> float:
        """Seconds until the next poll."""
        return (self.watch.next_poll.due_at - self.now).total_seconds()

    @property
    def types(self) -> list[str]:
        """The types of all events, without their family."""
        return [event.type.value.partition(".")[2] for event in self.events]

    @property
    def last(self) -> Mapping[str, Any]:
        """The data of the last event."""
        return self.events[-1].data


def types_of(decision: Decision) -> list[str]:
    """Return the types of the events of one decision, without their family."""
    return [event.type.value.partition(".")[2] for event in decision.events]


def is_silent(decision: Decision, verdict: Verdict) -> bool:
    """Return whether the answer got this verdict and made no event."""
    return decision.verdict is verdict and not decision.events
