"""The onlooker: watches from memory alone. No store, no sinks; it ends with the process.

It polls like the daemon does (a permit first, then the most urgent look, then the request), asks
the same `observe` what an answer means, and sends what it learns down a stream. Whoever shows it
reads a stream of `News` and cares not where it comes from.
"""

import random
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

import anyio
import structlog
from anyio.abc import ObjectSendStream, TaskGroup
from anyio.to_thread import run_sync

from poller.comms.caller import Request
from poller.comms.client import CommsClient
from poller.comms.credentials import Credentials
from poller.comms.errors import CommsError, Forbidden, NotFound, Rejected, Throttled, Unauthorized
from poller.comms.gate import Reason
from poller.comms.kinds import KINDS
from poller.comms.throttle import Throttle, Ticket
from poller.engine.agenda import Agenda
from poller.engine.requests import ask_about, refusal_of, request_of
from poller.engine.signals import Wakeup
from poller.engine.trouble import Trouble, trouble_after
from poller.tracking.answer import Answer, Verdict
from poller.tracking.event import Event, event_id
from poller.tracking.observe import observe
from poller.tracking.pacing import Policy
from poller.tracking.watch import Watch

log = structlog.get_logger()

# A look is over when its news are taken: while nobody reads, no more than these are begun.
_MOST_LOOKS: Final = 64
_LONGEST_NAP: Final = 1.0
_ID_BITS: Final = 74


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An event with the id that it goes by."""

    id: str
    event: Event

    def render(self) -> str:
        """Write the CloudEvent as JSON on one line."""
        return self.event.render(self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """What a look left behind: the watch as it is known now, and the events that made."""

    watch: Watch
    events: tuple[Told, ...] = ()


News = Update | Trouble | None
"""None says that the trouble told last is over."""


class Feed(Protocol):
    """Where news of operations and messages come from."""

    async def run(self, news: ObjectSendStream[News]) -> None:
        """Send news, in order for each watch, until every one has ended; close the stream.

        A fatal `Trouble` is the last of the news.
        """


class Onlooker:
    """A feed that asks the API by itself.

    `credentials` reads them afresh and may block; it is called in a worker thread before each
    probe of what was refused, and whatever it raises leaves the old ones in use. `now` returns
    the time in UTC. The client is the caller's to close.
    """

    def __init__(
        self,
        watches: Iterable[Watch],
        *,
        client: CommsClient,
        throttle: Throttle,
        policy: Policy,
        credentials: Callable[[], Credentials],
        now: Callable[[], datetime],
    ) -> None:
        self._watches = {watch.id: watch for watch in watches}
        self._client = client
        self._throttle = throttle
        self._policy = policy
        self._credentials = credentials
        self._now = now
        self._agenda = Agenda()
        self._pulse = Wakeup()
        self._room = anyio.Semaphore(_MOST_LOOKS)
        self._trouble: Trouble | None = None
        self._answered = False
        self._beginning = anyio.CancelScope()
        self._everything = anyio.CancelScope()

    async def run(self, news: ObjectSendStream[News]) -> None:
        """Look until all have ended, or until credentials were refused at once.

        A receiver that has gone away ends it too.
        """
        for watch in self._watches.values():
            self._agenda.put(watch.id, kind=watch.kind, due=anyio.current_time())
        async with news:
            with self._everything:
                async with anyio.create_task_group() as looks:
                    with self._beginning:
                        while self._watches:
                            await self._turn(looks, news)

    async def _turn(self, looks: TaskGroup, news: ObjectSendStream[News]) -> None:
        """Begin one look, or wait for one to become due."""
        await self._room.acquire()
        begun = False
        try:
            await self._throttle.admit()
            begun = self._begin(looks, news)
        finally:
            if not begun:
                self._room.release()
        if not begun:
            await self._pulse.wait(self._nap())

    def _begin(self, looks: TaskGroup, news: ObjectSendStream[News]) -> bool:
        now = anyio.current_time()
        found = self._agenda.take(self._throttle.open_kinds(KINDS), now=now)
        if found is None:
            self._throttle.cancel()
            return False
        watch = self._watches[found]
        if (ticket := self._throttle.begin(watch.kind)) is None:
            self._agenda.put(watch.id, kind=watch.kind, due=now)
            return False
        looks.start_soon(self._look, watch, ticket, news)
        return True

    def _nap(self) -> float:
        due = self._agenda.next_due(self._throttle.open_kinds(KINDS))
        if due is None:
            return _LONGEST_NAP
        return max(0.0, min(due - anyio.current_time(), _LONGEST_NAP))

    async def _look(self, watch: Watch, ticket: Ticket, news: ObjectSendStream[News]) -> None:
        try:
            if ticket.probe in {Reason.UNAUTHORIZED, Reason.FORBIDDEN}:
                await self._renew_credentials()
            answer, error = await self._ask(watch, ticket)
        finally:
            self._throttle.abandon(ticket)
        try:
            await self._tell_trouble(ticket, error, news)
            again = 0.0 if isinstance(error, Throttled) else self._policy.max_interval
            await news.send(self._learn(watch, answer, again=again))
        except anyio.BrokenResourceError:
            self._everything.cancel()
        finally:
            self._room.release()
            self._pulse.wake()
        if not self._watches:
            # only what waits to begin: others may still be telling the ends they saw
            self._beginning.cancel()

    async def _ask(self, watch: Watch, ticket: Ticket) -> tuple[Answer | None, CommsError | None]:
        try:
            reading = await ask_about(watch)(self._client)
        except CommsError as error:
            self._throttle.finish(ticket, error)
            # what else is refused says nothing about the thing itself, and is done without
            is_itself = request_of(watch) is Request.FETCH
            if is_itself and isinstance(error, NotFound | Rejected):
                log.warning("poll.failed", operation=watch.id, error=str(error))
            arrived_at = self._now()
            answer = refusal_of(watch, error, begun_at=ticket.begun_at, arrived_at=arrived_at)
            return answer, error
        self._answered = True
        self._throttle.finish(ticket, None)
        return reading(begun_at=ticket.begun_at, arrived_at=self._now()), None

    def _learn(self, watch: Watch, answer: Answer | None, *, again: float) -> Update:
        """Take in an answer and put the next look on the agenda.

        None says nothing of it: then it is asked `again` after so many seconds.
        """
        if answer is None:
            self._plan(watch, again)
            return Update(watch=watch)
        now = self._now()
        # jitter spreads load; nobody can gain by guessing it
        jitter = random.random()  # noqa: S311
        decision = observe(watch, answer, policy=self._policy, now=now, jitter=jitter)
        if decision.verdict is Verdict.STALE:
            log.warning("poll.stale", operation=watch.id, status=watch.status)
        after = decision.watch
        if after.is_watched:
            self._watches[after.id] = after
            schedule = after.next_poll
            self._plan(after, (schedule.due_at - schedule.set_at).total_seconds())
        else:
            del self._watches[after.id]
        return Update(
            watch=after,
            events=tuple(
                Told(id=event_id(now, secrets.randbits(_ID_BITS)), event=event)
                for event in decision.events
            ),
        )

    def _plan(self, watch: Watch, seconds: float) -> None:
        # waits run by the monotonic clock, so that one set back delays nothing
        self._agenda.put(watch.id, kind=watch.kind, due=anyio.current_time() + seconds)

    async def _tell_trouble(
        self, ticket: Ticket, error: CommsError | None, news: ObjectSendStream[News]
    ) -> None:
        """Tell a trouble when it begins, changes and ends, not for every request in it."""
        refused = isinstance(error, Unauthorized | Forbidden)
        before, self._trouble = (
            self._trouble,
            trouble_after(
                self._trouble,
                error,
                pause=self._throttle.account_pause or self._throttle.kind_pauses.get(ticket.kind),
                fatal=refused and not self._answered,
            ),
        )
        trouble = self._trouble
        if trouble == before:
            return
        if trouble is None:
            log.info("watch.recovered")
        elif not trouble.fatal and (before is None or before.what != trouble.what):
            log.warning("watch.trouble", error=str(error), fault=trouble.fault.value)
        await news.send(trouble)
        if trouble is not None and trouble.fatal:
            self._everything.cancel()

    async def _renew_credentials(self) -> None:
        try:
            self._client.use(await run_sync(self._credentials))
        except Exception as error:  # noqa: BLE001 - whatever the settings raise, the old ones stay
            log.warning("credentials.unreadable", error=str(error))
