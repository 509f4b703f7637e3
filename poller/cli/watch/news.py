"""What the views of `poller watch` show: updates of watches, and trouble with the source. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from anyio.abc import ObjectSendStream

from poller.comms.errors import CommsError, Fault, Scope
from poller.comms.gate import Pause
from poller.server.documents import GroupDocument, OperationDocument
from poller.tracking.event import EmittedEvent
from poller.tracking.watch import Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """`what` is a sentence without secrets; `until` is when the pause that it made is over.

    Equal values are the same trouble. `fatal` says that going on is pointless.
    """

    what: str
    fault: Fault
    until: datetime | None = None
    fatal: bool = False


def trouble_after(
    before: Trouble | None, error: CommsError | None, *, pause: Pause | None, fatal: bool
) -> Trouble | None:
    """Name the trouble there is after a request that ended with `error`, None for success.

    `pause` is what holds requests back now: while it lasts, an answer to a request that was begun
    before it ends no trouble. 404 and 400 are answers: they speak of one operation.
    """
    if error is None or error.scope is Scope.REQUEST:
        return None if pause is None else before
    return Trouble(
        what=f"credentials refused: {error}" if fatal else _what(error),
        fault=error.fault,
        until=None if pause is None else pause.until,
        fatal=fatal,
    )


def _what(error: CommsError) -> str:
    said = f"{error.status} {error.text or ''}".strip() if error.status else error.happened
    match error.scope:
        case Scope.CREDENTIALS:
            return f"credentials refused ({said}); {error.hint}"
        case Scope.KIND:
            return f"access refused ({said}); {error.hint}"
        case Scope.ACCOUNT:
            return f"account paused ({said})"
        case Scope.CONNECTION:
            return f"API unreachable: {error.happened}"
        case _:
            return f"API in trouble: {error.happened}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """A watch as it is known now, and the events that came with that."""

    watch: Watch
    events: Sequence[EmittedEvent] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupUpdate:
    """A group as the daemon shows it, None where only events came, and some of its members."""

    group: GroupDocument | None
    members: Sequence[OperationDocument] = ()
    events: Sequence[EmittedEvent] = ()


News = Update | GroupUpdate | Trouble | None
"""None says that the last trouble is over."""


class Feed(Protocol):
    """Where news of operations and messages come from."""

    async def run(self, news: ObjectSendStream[News]) -> None:
        """Send news, in order for each watch, until every one has ended; close the stream.

        A fatal `Trouble` is the last of the news.
        """
