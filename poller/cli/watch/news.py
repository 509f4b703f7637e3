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
    """`what` is a sentence without secrets; `until` is when the pause that it caused ends.

    Equal values are the same trouble. After a `fatal` one, watching stops.
    """

    what: str
    fault: Fault
    until: datetime | None = None
    fatal: bool = False


def trouble_after(
    before: Trouble | None, error: CommsError | None, *, pause: Pause | None, fatal: bool
) -> Trouble | None:
    """Return the trouble after a request that ended with `error` (None: it succeeded).

    `pause` is the pause in force, if any: while it lasts, the answer to a request that was sent
    before it does not end the trouble. 404 and 400 concern one operation, so they are no trouble.
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
    answer = f"{error.status} {error.text or ''}".strip() if error.status else error.happened
    match error.scope:
        case Scope.CREDENTIALS:
            return f"credentials refused ({answer}); {error.hint}"
        case Scope.KIND:
            return f"access refused ({answer}); {error.hint}"
        case Scope.ACCOUNT:
            return f"account paused ({answer})"
        case Scope.CONNECTION:
            return f"API unreachable: {error.happened}"
        case _:
            return f"API failing: {error.happened}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """The latest state of a watch, and the events of that change."""

    watch: Watch
    events: Sequence[EmittedEvent] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupUpdate:
    """A group's document, None if only events arrived, and documents of some members."""

    group: GroupDocument | None
    members: Sequence[OperationDocument] = ()
    events: Sequence[EmittedEvent] = ()


News = Update | GroupUpdate | Trouble | None
"""None means that the last trouble is over."""


class Feed(Protocol):
    """A source of news about operations and messages."""

    async def run(self, news: ObjectSendStream[News]) -> None:
        """Send news, in order for each watch, until every one has ended; close the stream.

        A fatal `Trouble` is the last item.
        """
