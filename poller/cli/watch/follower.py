"""The follower: news of what a daemon watches, for as long as the daemon is there.

Its event stream has what happens; its documents, read in turn, have what makes no event. What
the daemon does not watch, and everything once it has stopped, is handed to another feed, which
polls the API.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol

import anyio
import structlog
from anyio.abc import ObjectSendStream
from httpx_sse import ServerSentEvent

from poller.cli.watch.followed import Followed
from poller.cli.watch.news import News, Trouble, Update
from poller.comms.errors import Fault
from poller.control.client import ControlClient
from poller.control.errors import ControlError, Refused, UnknownOperation
from poller.server.documents import OperationStoryDocument
from poller.tracking.event import read_emitted
from poller.tracking.watch import AccountScope, Watch

log = structlog.get_logger()

_GONE: Final = 410
_LOOKS: Final = 20
"""The most documents that are read each time, so that thousands are no burden."""
_NO_CREDENTIALS: Final = "set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN to ask the API itself"


class Polling(Protocol):
    """A feed that polls the API."""

    def take(self, watches: Sequence[Watch]) -> None:
        """Poll these from now on, each from the state that it is in."""

    def finish(self) -> None:
        """Say that there will be no further watch."""

    async def run(self, news: ObjectSendStream[News]) -> None:
        """Send news until everything that was taken has ended; close the stream."""


class Follower:
    """A feed that follows `known`, operations as the daemon's documents show them.

    `others` it does not know. `polling` is None where there are no credentials: then a daemon
    that has gone is waited for, else for `patience` seconds. Every `interval` seconds some are
    looked at, and a stream that ended is asked for again. `scope` and `settle` are those of the
    settings, `now` returns the time in UTC. The client is the caller's to close.
    """

    def __init__(
        self,
        known: Mapping[str, Followed],
        others: Sequence[Watch],
        *,
        client: ControlClient,
        polling: Polling | None,
        scope: AccountScope,
        settle: float,
        now: Callable[[], datetime],
        patience: float = 10.0,
        interval: float = 1.0,
    ) -> None:
        self._open = dict(known)
        self._others = others
        self._client = client
        self._polling = polling
        self._scope = scope
        self._settle = settle
        self._now = now
        self._patience = patience
        self._interval = interval
        self._looks = deque(self._open)
        self._last_id: str | None = None
        self._away_since: float | None = None
        self._trouble: Trouble | None = None
        # an operation is changed and reported in one step, by the stream or by a document
        self._turn = anyio.Lock()
        self._following = anyio.CancelScope()
        self._everything = anyio.CancelScope()

    async def run(self, news: ObjectSendStream[News]) -> None:
        """Send news until every operation has ended; a receiver that has gone away ends it too."""
        self._news = news
        async with news:
            with self._everything:
                async with anyio.create_task_group() as tasks:
                    if self._polling is not None:
                        shared = _SharedStream(news, self._everything)
                        tasks.start_soon(self._polling.run, shared)
                    await self._hand_over(self._others)
                    for followed in list(self._open.values()):
                        await self._send(Update(watch=followed.watch))
                    with self._following:
                        async with anyio.create_task_group() as looks:
                            looks.start_soon(self._look_around)
                            await self._follow()
                    if self._polling is not None:
                        self._polling.finish()

    async def _follow(self) -> None:
        """Read the stream, again and again, until everything has ended or is handed over."""
        while True:
            try:
                names = list(self._open)
                async with self._client.events(
                    names, after=self._last_id, from_oldest=True
                ) as messages:
                    self._away_since = None
                    await self._report(None)
                    async for message in messages:
                        await self._receive(message)
            except ControlError as error:
                if isinstance(error, Refused) and error.status == _GONE:
                    self._last_id = None
                await self._wait_for_daemon(error)
            else:
                await self._wait_for_daemon(None)

    async def _receive(self, message: ServerSentEvent) -> None:
        if message.event == "error":
            # the next request fails with the reason; from the oldest event on nothing is missed
            self._last_id = None
            return
        await self._apply(message.data)
        self._last_id = message.id or self._last_id

    async def _apply(self, body: str) -> None:
        try:
            event = read_emitted(body)
        except ValueError as error:
            log.warning("watch.unreadable", error=str(error))
            return
        name = event.subject
        async with self._turn:
            if (before := self._open.get(name)) is None:
                return
            self._open[name], update = before.after(event)
            if update is not None:
                await self._send(update)
            self._close_ended(name)
        if name in self._open and event.final:
            # only the daemon knows whether a breakdown follows the end
            await self._look(name)

    async def _wait_for_daemon(self, error: ControlError | None) -> None:
        """Wait for the daemon to come back; hand everything over after `patience` seconds."""
        now = anyio.current_time()
        self._away_since = now if self._away_since is None else self._away_since
        if self._polling is not None and now - self._away_since >= self._patience:
            log.warning("watch.daemon_gone", address=str(self._client.address), error=str(error))
            await self._report(None)
            async with self._turn:
                await self._hand_over([self._released(name) for name in list(self._open)])
        if error is not None and not isinstance(error, Refused):
            await self._report(Trouble(what=str(error), fault=Fault.NETWORK))
        await anyio.sleep(self._interval)

    async def _look_around(self) -> None:
        """Read some documents after the other: between events counters move as well."""
        while True:
            await anyio.sleep(self._interval)
            for _ in range(min(_LOOKS, len(self._looks))):
                name = self._looks.popleft()
                if name in self._open:
                    self._looks.append(name)
                    await self._look(name)

    async def _look(self, name: str) -> None:
        document: OperationStoryDocument | None = None
        try:
            document = await self._client.operation(name, events=0)
        except UnknownOperation:
            pass
        except ControlError:
            return  # the stream meets the same error and handles it
        async with self._turn:
            if (before := self._open.get(name)) is None:
                return
            if document is None or not is_followed(document):
                await self._hand_over([self._released(name)])
                return
            self._open[name] = before.after_document(document)
            await self._send(Update(watch=self._open[name].watch))
            self._close_ended(name)

    def _close_ended(self, name: str) -> None:
        if self._open[name].has_ended:
            del self._open[name]
        if not self._open:
            self._following.cancel()

    def _released(self, name: str) -> Watch:
        followed = self._open.pop(name)
        return followed.handed_over(self._scope, now=self._now(), settle=self._settle)

    async def _hand_over(self, watches: Sequence[Watch]) -> None:
        if watches and self._polling is not None:
            self._polling.take(watches)
        elif watches:
            what = f"the daemon no longer watches {watches[0].id}; {_NO_CREDENTIALS}"
            await self._send(Trouble(what=what, fault=Fault.CONFIGURATION, fatal=True))
            self._everything.cancel()
        if not self._open:
            self._following.cancel()

    async def _report(self, trouble: Trouble | None) -> None:
        if trouble == self._trouble:
            return
        before, self._trouble = self._trouble, trouble
        if trouble is not None and before is None:
            log.warning("watch.trouble", error=trouble.what, fault=trouble.fault.value)
        elif trouble is None:
            log.info("watch.recovered")
        await self._send(trouble)

    async def _send(self, item: News) -> None:
        try:
            await self._news.send(item)
        except anyio.BrokenResourceError:
            self._everything.cancel()


def is_followed(document: OperationStoryDocument) -> bool:
    """Whether a daemon can follow this operation to its end."""
    return document["phase"] != "forgotten" and not document["pruned"]


class _SharedStream(ObjectSendStream[News]):
    """The stream of news for another feed, which would close it."""

    def __init__(self, news: ObjectSendStream[News], everything: anyio.CancelScope) -> None:
        self._news = news
        self._everything = everything

    async def send(self, item: News) -> None:
        await self._news.send(item)
        if isinstance(item, Trouble) and item.fatal:
            self._everything.cancel()

    async def aclose(self) -> None:
        """Leave it open: the follower still uses it."""
