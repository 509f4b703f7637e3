"""The follower: a feed from a running daemon, as long as the daemon answers.

Events come from the daemon's event stream. Counters also change between events, so the documents
of the operations are read in turn. What the daemon does not watch, and everything once it has
stopped, is handed to another feed, which polls the API.
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
_MAX_DOCUMENTS: Final = 20
"""How many documents are read in one interval, which bounds the load of thousands."""
_NO_CREDENTIALS: Final = "set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN to poll the API directly"


class Polling(Protocol):
    """A feed that polls the API."""

    def take(self, watches: Sequence[Watch]) -> None:
        """Poll these from now on, each from its present state."""

    def finish(self) -> None:
        """Declare that no more watches will be taken."""

    async def run(self, news: ObjectSendStream[News]) -> None:
        """Send news until everything that was taken has ended; close the stream."""


class Follower:
    """A feed that reads `known` from the daemon and hands `others` to `polling`.

    When the daemon does not answer for `patience` seconds, everything is handed to `polling`. If
    that is None, for want of credentials, the follower waits for the daemon without limit. Every
    `interval` seconds it reads some documents and reopens a stream that ended. `scope` and
    `settle` are those of the settings, `now` returns the time in UTC. The caller closes `client`.
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
        self._rotation = deque(self._open)
        self._last_id: str | None = None
        self._away_since: float | None = None
        self._trouble: Trouble | None = None
        # held while an operation is changed and reported, by the stream or by a document
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
                        async with anyio.create_task_group() as following:
                            following.start_soon(self._read_documents)
                            await self._follow()
                    if self._polling is not None:
                        self._polling.finish()

    async def _follow(self) -> None:
        """Read the stream, reopening it as needed, until everything has ended or is handed over."""
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
            # the next request fails with the reason; read from the oldest event, to miss none
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
            # only the daemon's document says whether a breakdown follows the final event
            await self._read_document(name)

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

    async def _read_documents(self) -> None:
        """Read some documents in each interval, in turn: counters also change between events."""
        while True:
            await anyio.sleep(self._interval)
            for _ in range(min(_MAX_DOCUMENTS, len(self._rotation))):
                name = self._rotation.popleft()
                if name in self._open:
                    self._rotation.append(name)
                    await self._read_document(name)

    async def _read_document(self, name: str) -> None:
        document: OperationStoryDocument | None = None
        try:
            document = await self._client.operation(name, events=0)
        except UnknownOperation:
            pass
        except ControlError:
            return  # `_follow` gets the same error and handles it
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
    """The stream of news as another feed uses it: closing it does nothing."""

    def __init__(self, news: ObjectSendStream[News], everything: anyio.CancelScope) -> None:
        self._news = news
        self._everything = everything

    async def send(self, item: News) -> None:
        await self._news.send(item)
        if isinstance(item, Trouble) and item.fatal:
            self._everything.cancel()

    async def aclose(self) -> None:
        """Leave it open: the follower still uses it."""
