"""The client of the control API: every route that commands use, with its errors."""

import json
import os
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, Self, cast
from urllib.parse import quote

import anyio
import httpx
from httpx_sse import EventSource, ServerSentEvent
from pydantic import SecretStr

from poller.control.address import Address
from poller.control.errors import (
    ControlError,
    NoDaemon,
    NoToken,
    Refused,
    UnknownOperation,
    Unreachable,
)
from poller.http.failures import describe_answer, describe_failure
from poller.http.route import Route, find_route
from poller.http.transport import TROUBLE, open_transport
from poller.server.documents import (
    BulkItemDocument,
    DeadLetterDocument,
    GroupDocument,
    GroupStoryDocument,
    OperationDocument,
    OperationStoryDocument,
    SinkDocument,
    TotalsDocument,
)
from poller.text import dump_json

MOST_FILTERED: Final = 100
"""The most operations by which the event stream can filter; with more, all events are sent."""

_UNAUTHORIZED: Final = 401
_FIRST_ERROR: Final = 400
_NO_CONTENT: Final = 204
_LONGEST_PAGE: Final = 1000
_CONNECTIONS: Final = 8
# registering thousands is one transaction, which may wait for another transaction
_TIMEOUT: Final = httpx.Timeout(60.0, connect=5.0)
# three times the heartbeat interval
_STREAM_TIMEOUT: Final = httpx.Timeout(45.0, connect=5.0)
_PATIENCE: Final = 3.0


class ControlClient:
    """A client of the daemon at an address; a context manager. No proxy is used on this machine.

    With a `transport` requests go there instead, for example to an application in this process.

    Every method raises `ControlError`: `Unreachable`, `NoDaemon`, `NoToken`,
    `UnknownOperation`, or `Refused` with the daemon's message.
    """

    def __init__(
        self,
        address: Address,
        *,
        token: SecretStr | None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.address = address
        self._route = _route(address)
        headers = {"Accept": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token.get_secret_value()}"
        self._http = httpx.AsyncClient(
            base_url=address.base_url,
            transport=transport or open_transport(self._route, max_connections=_CONNECTIONS),
            headers=headers,
            timeout=_TIMEOUT,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._http.aclose()

    async def answers(self) -> bool:
        """Return whether a daemon answers and accepts the token; raises nothing."""
        try:
            with anyio.fail_after(_PATIENCE):
                await self.sinks()
        except (ControlError, TimeoutError):
            return False
        return True

    async def register(self, registrations: Sequence[Mapping[str, Any]]) -> list[BulkItemDocument]:
        """Register many in one transaction; returns a result for each, in order."""
        answer = await self._ask("POST", "/v1/operations", body={"operations": registrations})
        return cast("list[BulkItemDocument]", self._member(answer, "results"))

    async def operations(
        self, filters: Iterable[tuple[str, str]], *, limit: int
    ) -> AsyncIterator[OperationDocument]:
        """List operations, up to `limit`, page by page; `filters` may hold `sort`."""
        async for item in self._pages("/v1/operations", "operations", filters, limit):
            yield cast("OperationDocument", item)

    async def totals(
        self, by: str, filters: Iterable[tuple[str, str]], *, limit: int
    ) -> TotalsDocument:
        """Sum up operations by `group` or `label:NAME`, the most failed recipients first."""
        query = [*filters, ("by", by), ("limit", str(limit))]
        answer = await self._ask("GET", "/v1/totals", query=query)
        self._member(answer, "totals")
        return cast("TotalsDocument", answer)

    async def operation(self, operation_id: str, *, events: int) -> OperationStoryDocument:
        """Return an operation with its last `events` (0 to 1000)."""
        answer = await self._ask(
            "GET", f"/v1/operations/{operation_id}", query=[("events", str(events))]
        )
        self._member(answer, "phase")
        return cast("OperationStoryDocument", answer)

    async def groups(self, *, limit: int) -> AsyncIterator[GroupDocument]:
        """List groups, the newest first, up to `limit`, page by page."""
        async for item in self._pages("/v1/groups", "groups", (), limit):
            yield cast("GroupDocument", item)

    async def group(self, name: str, *, events: int = 0) -> GroupStoryDocument:
        """Return a group with its last `events` (0 to 1000)."""
        query = [("events", str(events))]
        answer = await self._ask("GET", f"/v1/groups/{quote(name)}", query=query)
        self._member(answer, "state")
        return cast("GroupStoryDocument", answer)

    async def seal(self, name: str, expected: int | None) -> GroupDocument:
        """Seal a group now, or when it has `expected` members."""
        body = {} if expected is None else {"expected": expected}
        answer = await self._ask("POST", f"/v1/groups/{quote(name)}/seal", body=body)
        self._member(answer, "state")
        return cast("GroupDocument", answer)

    async def forget(self, operation_id: str) -> None:
        """Stop watching an operation."""
        await self._ask("DELETE", f"/v1/operations/{operation_id}")

    async def sinks(self) -> list[SinkDocument]:
        """Return the state of each sink."""
        answer = await self._ask("GET", "/v1/sinks")
        return cast("list[SinkDocument]", self._member(answer, "sinks"))

    async def dead_letters(
        self, filters: Iterable[tuple[str, str]], *, limit: int | None
    ) -> AsyncIterator[DeadLetterDocument]:
        """List dead letters in commit order, up to `limit`, page by page."""
        async for item in self._pages("/v1/dead-letters", "deadLetters", filters, limit):
            yield cast("DeadLetterDocument", item)

    async def replay(self, event_id: str, sinks: Sequence[str] | None) -> list[str]:
        """Send an event again, to these sinks or to all that it was recorded for; returns them."""
        answer = await self._ask(
            "POST",
            f"/v1/events/{quote(event_id, safe='')}/replay",
            body=None if sinks is None else {"sinks": list(sinks)},
        )
        return cast("list[str]", self._member(answer, "sinks"))

    async def replay_dead_letters(self, chosen: Mapping[str, object]) -> dict[str, int]:
        """Send the selected dead letters again; returns how many for each sink.

        `chosen` is the body of the request, without a cursor.
        """
        replayed: Counter[str] = Counter()
        cursor: object = None
        while True:
            body = dict(chosen) if cursor is None else {**chosen, "cursor": cursor}
            answer = await self._ask("POST", "/v1/dead-letters/replay", body=body)
            replayed.update(cast("dict[str, int]", self._member(answer, "replayed")))
            cursor = self._member(answer, "next")
            if cursor is None:
                return dict(sorted(replayed.items()))

    @asynccontextmanager
    async def events(
        self,
        operations: Sequence[str] = (),
        *,
        groups: Sequence[str] = (),
        types: Sequence[str] = (),
        after: str | None = None,
        from_oldest: bool = False,
    ) -> AsyncIterator["StreamedEvents"]:
        """Follow events of these operations, groups with their members, and types; else all.

        The stream begins after the event `after`, else with the oldest stored one (`from_oldest`),
        else now. With more than `MOST_FILTERED` operations, events of other operations come too.
        """
        named = operations if len(operations) <= MOST_FILTERED else ()
        query = [
            *(("operation", name) for name in named),
            *(("group", name) for name in groups),
            *(("type", name) for name in types),
        ]
        headers = {"Accept": "text/event-stream"}
        if after is not None:
            headers["Last-Event-ID"] = after
        elif from_oldest:
            query.append(("from", "oldest"))
        try:
            async with self._http.stream(
                "GET",
                "/v1/events",
                params=httpx.QueryParams(tuple(query)),
                headers=headers,
                timeout=_STREAM_TIMEOUT,
            ) as response:
                if response.status_code >= _FIRST_ERROR:
                    await response.aread()
                    self._check(response)
                if not response.headers.get("content-type", "").startswith("text/event-stream"):
                    raise NoDaemon(str(self.address), "it streams no events")
                yield StreamedEvents(response)
        except TROUBLE as error:
            raise self._unreachable(error) from error

    async def _pages(
        self, path: str, member: str, filters: Iterable[tuple[str, str]], limit: int | None
    ) -> AsyncIterator[dict[str, Any]]:
        cursor, left = None, limit
        while left is None or left > 0:
            size = _LONGEST_PAGE if left is None else min(left, _LONGEST_PAGE)
            query = [*filters, ("limit", str(size))]
            if cursor is not None:
                query.append(("cursor", cursor))
            answer = await self._ask("GET", path, query=query)
            page = self._member(answer, member)
            for item in page:
                yield item
            left = None if left is None else left - len(page)
            cursor = answer.get("next")
            if cursor is None:
                return

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        content = None if body is None else dump_json(body)
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            response = await self._http.request(
                method,
                path,
                params=httpx.QueryParams(tuple(query)),
                content=content,
                headers=headers,
            )
        except TROUBLE as error:
            raise self._unreachable(error) from error
        self._check(response)
        if response.status_code == _NO_CONTENT:
            return {}
        document = _json(response)
        if response.is_redirect or not isinstance(document, dict):
            raise NoDaemon(str(self.address), f"it answered {response.status_code} without JSON")
        return document

    def _check(self, response: httpx.Response) -> None:
        """Raise the error that an answer describes, if it is one."""
        if response.status_code < _FIRST_ERROR:
            return
        if response.status_code == _UNAUTHORIZED:
            raise NoToken(str(self.address))
        failure = describe_answer(response.status_code, response.content, self._route)
        if failure is not None:
            raise Unreachable(str(self.address), failure.happened, failure.hint)
        refused = Refused.from_document(response.status_code, _json(response))
        if refused is None:
            raise NoDaemon(str(self.address), f"it answered {response.status_code}")
        if refused.name == "unknown-operation":
            raise UnknownOperation(response.url.path.rpartition("/")[2], str(self.address))
        raise refused

    def _member(self, answer: dict[str, Any], name: str) -> Any:  # noqa: ANN401 - JSON
        if name not in answer:
            raise NoDaemon(str(self.address), f"its answer has no {name!r}")
        return answer[name]

    def _unreachable(self, error: Exception) -> Unreachable:
        failure = describe_failure(error, self._route)
        return Unreachable(str(self.address), failure.happened, failure.hint)


def _route(address: Address) -> Route:
    """Return the route to a daemon; a proxy is never used for one on this machine."""
    return address.route if address.is_local else find_route(address.base_url, os.environ)


class StreamedEvents:
    """The messages of one event stream. `position` is the event after which it began, if any."""

    def __init__(self, response: httpx.Response) -> None:
        self._source = EventSource(response)
        self.position: str | None = response.headers.get("last-event-id")

    async def __aiter__(self) -> AsyncGenerator[ServerSentEvent, None]:
        async with aclosing(self._source.aiter_sse()) as messages:
            async for message in messages:
                # a block without data is not a message, although the library yields it
                if message.data:
                    yield message


def _json(response: httpx.Response) -> object:
    try:
        document: object = json.loads(response.content)
    except (ValueError, RecursionError):
        return None
    return document
