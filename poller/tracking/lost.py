"""Why a watch is lost: the API does not know the operation, refuses it, or shows no end. Pure."""

from datetime import datetime, timedelta
from typing import Final

from poller.tracking.answer import (
    Answer,
    FoundAnswer,
    NonsenseAnswer,
    NotFoundAnswer,
    ReceiptsAnswer,
    RejectedAnswer,
)
from poller.tracking.pacing import Policy, expires_at
from poller.tracking.watch import Watch

_NOT_FOUND_TIMES: Final = 3
_REJECTED_TIMES: Final = 2


def lost_reason(watch: Watch, answer: Answer, *, policy: Policy, now: datetime) -> str | None:
    """Return why `watch` is lost after this answer, `data.reason` of the event; None to go on.

    `not_found` takes three answers in a row over at least `policy.not_found_grace` seconds,
    `rejected` two in a row. `expired` takes an answer that shows no end after the watch is too old.
    """
    streak = watch.not_found_streak
    if isinstance(answer, RejectedAnswer) and streak.rejected >= _REJECTED_TIMES:
        return "rejected"
    if isinstance(answer, NotFoundAnswer) and _is_not_found(watch, policy=policy, now=now):
        return "not_found"
    expiry = expires_at(watch)
    if expiry is not None and _shows_no_end(answer) and answer.begun_at > expiry:
        return "expired"
    return None


def _is_not_found(watch: Watch, *, policy: Policy, now: datetime) -> bool:
    streak = watch.not_found_streak
    return (
        streak.not_found >= _NOT_FOUND_TIMES
        and streak.not_found_since is not None
        and now - streak.not_found_since >= timedelta(seconds=policy.not_found_grace)
    )


def _shows_no_end(answer: Answer) -> bool:
    """Return whether the API itself answered a fetch: an outage must not expire anything.

    "Older records may return incomplete results", so a document that makes no sense counts.
    """
    match answer:
        case FoundAnswer(fetched=fetched):
            return fetched
        case NotFoundAnswer() | RejectedAnswer() | NonsenseAnswer() | ReceiptsAnswer():
            return True
        case _:
            return False
