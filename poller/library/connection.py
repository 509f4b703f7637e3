"""The Python API over the control API of a running daemon."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any, Final, NoReturn, TypeVar

import anyio
from pydantic import SecretStr

from poller.control.address import address_of_url
from poller.control.client import ControlClient
from poller.control.errors import NoDaemon, Refused, UnknownOperation, Unreachable
from poller.library.background import background
from poller.library.base import (
    LATEST,
    EventSelection,
    EventStream,
    WatchingApi,
    latest_final,
)
from poller.library.errors import NotWatched, PollerClosed
from poller.library.waiting import Ends
from poller.server.documents import (
    BulkItemDocument,
    GroupDocument,
    OperationDocument,
    TimelineEventDocument,
)
from poller.store.errors import EventsGone
from poller.tracking.event import EmittedEvent, read_emitted
from poller.tracking.registration import BadRegistration, Conflict

Result = TypeVar("Result")

_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_GONE: Final = 410
_FIRST_ERROR: Final = 400
_FIRST_WAIT: Final = 0.1
_LONGEST_WAIT: Final = 2.0
# concurrent streams that search for one event; a daemon allows 64 for all its clients
_MAX_SEARCHES: Final = 4
_NOT_OPEN: Final = "the connection is not open; use it within `async with`"


def connect(url: str, *, token: str | None = None, patience: float = 30.0) -> "DaemonConnection":
    """Return a connection to the daemon at a URL: `http://…`, `https://…` or `unix:/path`.

    Use it within `async with`; it has the methods of `Poller`. It runs on asyncio and on trio.
    `token` is the daemon's `server.token`. While nothing answers, each call and each stream is
    retried for `patience` seconds: the daemon may be restarting. A stream continues where it was.

    Its methods raise `ControlError` where the daemon does not answer, or refuses.

    :raises BadAddress: where the URL cannot be used.
    """
    return DaemonConnection(url, token=token, patience=patience)


class DaemonConnection(WatchingApi):
    """A connection to a running daemon; `connect` creates one.

    Entering it sends no request; leaving it does not stop the daemon.
    """

    def __init__(self, url: str, *, token: str | None, patience: float) -> None:
        super().__init__(name="connection", not_open=_NOT_OPEN)
        self._address = address_of_url(url, "url")
        self._token = None if token is None else SecretStr(token)
        self._patience = patience
        self._client: ControlClient | None = None
        self._searches = anyio.Semaphore(_MAX_SEARCHES)

    async def _forget(self, watched: str) -> None:
        await self._about(watched, lambda: self._open_client.forget(watched))

    async def _seal(self, group: str, expected: int | None) -> GroupDocument:
        return await self._about(group, lambda: self._open_client.seal(group, expected))

    async def _operation(self, watched: str) -> OperationDocument:
        return await self._about(watched, lambda: self._open_client.operation(watched, events=0))

    async def _group(self, name: str) -> GroupDocument:
        return await self._about(name, lambda: self._open_client.group(name))

    async def _register(self, document: Mapping[str, Any]) -> bool:
        (result,) = await self._with_retries(lambda: self._open_client.register([document]))
        if result["status"] >= _FIRST_ERROR:
            _refuse(result)
        return result["status"] == 201  # noqa: PLR2004 - Created

    async def _end_of(self, subject: str) -> EmittedEvent | None:
        if subject.startswith("comms_"):
            operation = await self._about(
                subject, lambda: self._open_client.operation(subject, events=LATEST)
            )
            if operation["phase"] == "forgotten":
                raise NotWatched(subject)
            if operation["phase"] not in {"explaining", "ended"}:
                return None
            return await self._find(_final(subject, operation["events"]), id=subject)
        group = await self._about(subject, lambda: self._open_client.group(subject, events=LATEST))
        if group["state"] != "ended":
            return None
        return await self._find(_final(subject, group["events"]), group=subject)

    async def _find(
        self,
        event_id: str,
        *,
        id: str | None = None,  # noqa: A002 - as above
        group: str | None = None,
    ) -> EmittedEvent:
        """Read one stored event from the stream: a timeline does not contain all of its members.

        :raises EventsGone: where it is no longer stored.
        """
        chosen = EventSelection(id=id, group=group, from_oldest=True)
        async with self._searches, aclosing(self._follow(chosen, types=("final",))) as events:
            async for event in events:
                if event.id == event_id:
                    return event
        raise PollerClosed(_NOT_OPEN)

    async def _follow(self, chosen: EventSelection, *, types: Sequence[str] = ()) -> EventStream:
        after, from_oldest, retry = chosen.after, chosen.from_oldest, _Retry(self._patience)
        while True:
            try:
                async with self._open_client.events(
                    chosen.ids,
                    groups=chosen.groups,
                    types=types,
                    after=after,
                    from_oldest=from_oldest,
                ) as messages:
                    retry.succeeded()
                    after = messages.position or after
                    # if there was no event yet, the oldest stored one will be the first
                    from_oldest = after is None
                    async with aclosing(aiter(messages)) as received:
                        async for message in received:
                            if message.event == "error":
                                break
                            yield read_emitted(message.data)
                            after = message.id
            except (Unreachable, NoDaemon) as error:
                await retry.failed(error)
            except Refused as error:
                if error.status == _GONE:
                    raise EventsGone(error.detail) from None
                raise
            else:
                # the daemon stops, or failed; the next request shows why
                await anyio.sleep(_FIRST_WAIT)

    async def _ends(self) -> Ends:
        """Yield the subjects of final events, and None after a gap in the stream."""
        wait = _FIRST_WAIT
        while True:
            try:
                async with self._open_client.events(types=("final",)) as messages:
                    wait = _FIRST_WAIT
                    yield None
                    async with aclosing(aiter(messages)) as received:
                        async for message in received:
                            if message.event != "error":
                                yield read_emitted(message.data).subject
            except (Unreachable, NoDaemon, Refused):
                # the waiting calls query for themselves, and raise the error
                yield None
            await anyio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)

    async def _about(self, subject: str, request: Callable[[], Awaitable[Result]]) -> Result:
        """Make a request about one subject, with retries.

        :raises NotWatched: where the daemon does not know the subject.
        :raises Conflict: where the daemon reports a conflict.
        """
        try:
            return await self._with_retries(request)
        except UnknownOperation:
            raise NotWatched(subject) from None
        except Refused as error:
            if error.status == _NOT_FOUND:
                raise NotWatched(subject) from None
            if error.status == _CONFLICT:
                raise Conflict(error.detail) from None
            raise

    async def _with_retries(self, request: Callable[[], Awaitable[Result]]) -> Result:
        retry = _Retry(self._patience)
        while True:
            try:
                return await request()
            except Unreachable as error:
                await retry.failed(error)

    @asynccontextmanager
    async def _run(self) -> AsyncGenerator[None, None]:
        async with ControlClient(self._address, token=self._token) as client:
            self._client = client
            try:
                async with background() as tasks:
                    tasks.start_soon(self._waiters.run, partial(self._ends))
                    yield
            finally:
                self._client = None
                self._waiters.close("the connection is closed")

    @property
    def _open_client(self) -> ControlClient:
        if self._client is None:
            raise PollerClosed(_NOT_OPEN)
        return self._client


class _Retry:
    """Waits with backoff between attempts, until nothing has answered for `patience` seconds."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._wait = _FIRST_WAIT
        self._since: float | None = None

    def succeeded(self) -> None:
        """Reset the backoff: the daemon answered."""
        self._wait, self._since = _FIRST_WAIT, None

    async def failed(self, error: Exception) -> None:
        """Wait before the next attempt.

        :raises Exception: the error, where `patience` has passed.
        """
        now = anyio.current_time()
        self._since = now if self._since is None else self._since
        if now - self._since >= self._patience:
            raise error
        await anyio.sleep(min(self._wait, self._since + self._patience - now))
        self._wait = min(2 * self._wait, _LONGEST_WAIT)


def _final(subject: str, events: Sequence[TimelineEventDocument]) -> str:
    return latest_final(subject, events, is_final=lambda event: event["final"])["id"]


def _refuse(result: BulkItemDocument) -> NoReturn:
    """Raise the daemon's error about a registration."""
    problem = result["problem"]
    if result["status"] == _CONFLICT:
        raise Conflict(problem["detail"])
    errors = problem.get("errors") or [{"field": "registration", "message": problem["detail"]}]
    raise BadRegistration(errors[0]["field"], errors[0]["message"])
