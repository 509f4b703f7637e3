"""The client of the Communications API: each request has a hard deadline and a bound.

The requests go straight to a transport: it follows no redirects, keeps no cookies, retries and logs
nothing. The throttle decides on rate and pauses, the engine on the next request.
"""

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Final, Self, TypeVar

import anyio
import httpx
from anyio import to_thread

from poller import __version__
from poller.addresses import DEFAULT_PORTS, Unusable, check_base_url
from poller.comms.credentials import AnyCredentials, Credentials
from poller.comms.decoding import is_url
from poller.comms.errors import NonsensicalAnswer
from poller.comms.ids import check_message_id, check_operation_id
from poller.comms.kinds import KindSpec
from poller.comms.models import (
    ErrorPage,
    Message,
    MessagePage,
    Operation,
    OperationPage,
    ReceiptPage,
    decode_error_page,
    decode_message,
    decode_message_page,
    decode_operation,
    decode_page,
    decode_receipt_page,
)
from poller.comms.oauth import TokenSource
from poller.comms.transport import Answer, decode_answer, exchange, read_refusal
from poller.http.route import Route, find_route
from poller.http.transport import Lanes, open_transport

LARGEST_PAGE: Final = 1000
"""The largest page size that may be requested (the vendor's limit)."""
MOST_CONNECTIONS: Final = 30
"""With more connections the pool of the HTTP library costs more than it saves."""

_UNAUTHORIZED: Final = 401
_LEAST: Final = 0.001
_MOST_OF_ONE: Final = 1024 * 1024
_MOST_OF_A_PAGE: Final = 32 * 1024 * 1024
# Bodies above this are decoded in a worker thread. Compressed ones may grow a thousandfold.
_HEAVY: Final = 100_000
_HEAVY_COMPRESSED: Final = 2_000

Decoded = TypeVar("Decoded")
Query = Mapping[str, str | int | datetime | None]


class CommsClient:
    """The Communications API at `base_url`, requested with `credentials`.

    `timeout` is in seconds, for each request as a whole, from connect to the last byte; it may be
    changed at any time and holds from the next request on. `transport` replaces the usual one,
    which uses the proxy and certificate variables. `now` returns the time in UTC; it replaces the
    `Date` of answers that have none.

    Every request raises a subclass of `CommsError` when it fails, or `InvalidId` where the id is
    malformed.

    :raises ValueError: where `base_url` is not a plain http(s) URL, `timeout` is not positive, or
        `max_connections` is not within 1 and 30.
    :raises EgressError: where a proxy or certificate variable cannot be used.
    """

    def __init__(
        self,
        *,
        base_url: str,
        credentials: AnyCredentials,
        timeout: float,
        max_connections: int,
        transport: httpx.AsyncBaseTransport | None = None,
        now: Callable[[], datetime],
    ) -> None:
        if not 1 <= max_connections <= MOST_CONNECTIONS:
            raise ValueError(f"max_connections is {max_connections}, not 1 to {MOST_CONNECTIONS}")
        if not timeout > 0:
            raise ValueError(f"timeout is {timeout}, not a number of seconds above 0")
        try:
            self._base_url = check_base_url(base_url)
        except Unusable as error:
            raise ValueError(f"base_url: {error}") from None
        self.timeout = timeout
        self._route = (
            find_route(base_url, os.environ) if transport is None else Route.direct(base_url)
        )
        self._transport = transport or open_transport(self._route, max_connections=max_connections)
        self._now = now
        self._closed = False
        self._given_transport = transport
        self._access = self._accessing(credentials)
        self._retired: list[TokenSource] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections. Idempotent; a request afterwards is a `RuntimeError`."""
        self._closed = True
        await self._transport.aclose()
        await self._close_retired()
        if isinstance(self._access, TokenSource):
            await self._access.aclose()

    async def _close_retired(self) -> None:
        while self._retired:
            await self._retired.pop().aclose()

    async def renew_connections(self) -> None:
        """Use fresh connections from the next request on; requests under way end on theirs."""
        await self._close_retired()
        if isinstance(self._transport, Lanes):
            await self._transport.renew()

    def use(self, credentials: AnyCredentials) -> None:
        """Use `credentials` from the next request on; a token of the same client stays in use."""
        access = self._access
        if isinstance(access, TokenSource):
            if access.credentials == credentials:
                return
            self._retired.append(access)
        self._access = self._accessing(credentials)

    def _accessing(self, credentials: AnyCredentials) -> Credentials | TokenSource:
        if isinstance(credentials, Credentials):
            return credentials
        return TokenSource(credentials, now=self._now, transport=self._given_transport)

    async def fetch_operation(self, kind: KindSpec, operation_id: str) -> Operation:
        """Return the current state of an operation."""
        return await self._get(
            f"fetch operation {operation_id} of {kind.name}",
            f"{kind.path}/Operations/{check_operation_id(operation_id)}",
            partial(decode_operation, kind=kind, expected_id=operation_id),
        )

    async def list_operations(
        self,
        kind: KindSpec,
        *,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
        status: str | None = None,
        page_token: str | None = None,
        page_size: int = LARGEST_PAGE,
    ) -> OperationPage:
        """Return one page of the operations created from `start_date` to `end_date`, unordered."""
        query = {
            "startDate": start_date,
            "endDate": end_date,
            "status": status,
            "pageToken": page_token,
            "pageSize": page_size,
        }
        return await self._get(
            f"list operations of {kind.name}",
            f"{kind.path}/Operations",
            partial(decode_page, kind=kind),
            query=query,
            limit=_MOST_OF_A_PAGE,
        )

    async def list_errors(
        self,
        kind: KindSpec,
        operation_id: str,
        *,
        page_token: str | None = None,
        page_size: int = LARGEST_PAGE,
    ) -> ErrorPage:
        """Return one page of the operation's errors."""
        return await self._get(
            f"list errors of operation {operation_id} of {kind.name}",
            f"{kind.path}/Operations/{check_operation_id(operation_id)}/Errors",
            decode_error_page,
            query={"pageToken": page_token, "pageSize": page_size},
            limit=_MOST_OF_A_PAGE,
        )

    async def fetch_message(self, message_id: str) -> Message:
        """Return the current state of one message."""
        return await self._get(
            f"fetch message {message_id}",
            f"Messages/{check_message_id(message_id)}",
            partial(decode_message, expected_id=message_id),
        )

    async def list_receipts(
        self, message_id: str, *, page_token: str | None = None, page_size: int = LARGEST_PAGE
    ) -> ReceiptPage:
        """Return one page of the receipts of a group message, one for each recipient."""
        return await self._get(
            f"list receipts of message {message_id}",
            f"Messages/{check_message_id(message_id)}/Receipts",
            decode_receipt_page,
            query={"pageToken": page_token, "pageSize": page_size},
            limit=_MOST_OF_A_PAGE,
        )

    async def list_messages(
        self,
        kind: KindSpec,
        *,
        operation_id: str | None = None,
        status: str | None = None,
        page_token: str | None = None,
        page_size: int = LARGEST_PAGE,
    ) -> MessagePage:
        """Return one page of messages, of one operation where `operation_id` is given.

        :raises ValueError: where the kind lists no messages.
        """
        if not kind.items:
            raise ValueError(f"{kind.name} list no messages")
        query = {
            "operationId": None if operation_id is None else check_operation_id(operation_id),
            "status": status,
            "pageToken": page_token,
            "pageSize": page_size,
        }
        return await self._get(
            f"list {kind.items[0]}",
            kind.path,
            partial(decode_message_page, kind=kind),
            query=query,
            limit=_MOST_OF_A_PAGE,
        )

    async def _get(
        self,
        action: str,
        path: str,
        decode: Callable[[object], Decoded],
        *,
        query: Query | None = None,
        limit: int = _MOST_OF_ONE,
    ) -> Decoded:
        if self._closed:
            raise RuntimeError("the client is closed")
        url = self._locate(path, query or {}, action=action)
        ends_at = anyio.current_time() + self.timeout
        access = self._access
        answer = await self._exchange(access, url, action=action, limit=limit, ends_at=ends_at)
        if answer.status == _UNAUTHORIZED and isinstance(access, TokenSource):
            # the token may have been revoked before it expired: try once more with a new one
            answer = await self._exchange(access, url, action=action, limit=limit, ends_at=ends_at)
        if not answer.successful:
            raise read_refusal(answer, action=action, now=self._now(), redact=access.redact)
        work = partial(decode_answer, answer, decode, action=action, limit=limit)
        return await to_thread.run_sync(work) if _is_heavy(answer) else work()

    def _locate(self, path: str, query: Query, *, action: str) -> httpx.URL:
        """Return the URL to request; the API may give the URL of a page in place of a token."""
        token = query.get("pageToken")
        if isinstance(token, str) and is_url(token):
            return _same_origin(token, self._base_url, action=action)
        given = {name: _as_text(value) for name, value in query.items() if value is not None}
        return httpx.URL(f"{self._base_url}/{path}", params=given or None)

    async def _exchange(
        self,
        access: Credentials | TokenSource,
        url: httpx.URL,
        *,
        action: str,
        limit: int,
        ends_at: float,
    ) -> Answer:
        """Send one request that ends by `ends_at`; a token that is refused is not used again."""
        if isinstance(access, Credentials):
            authorization, timeout = access.authorization(), self.timeout
        else:
            authorization = await access.authorization(timeout=_left(ends_at))
            timeout = _left(ends_at)
        answer = await exchange(
            self._transport,
            _request(url, authorization),
            route=self._route,
            action=action,
            limit=limit,
            timeout=timeout,
        )
        if answer.status == _UNAUTHORIZED and isinstance(access, TokenSource):
            access.reject(authorization)
        return answer


def _left(ends_at: float) -> float:
    """Return the seconds that are left, always above 0, so that a late request ends at once."""
    return max(_LEAST, ends_at - anyio.current_time())


def _request(url: httpx.URL, authorization: str) -> httpx.Request:
    return httpx.Request(
        "GET",
        url,
        headers={
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "Authorization": authorization,
            "User-Agent": f"comms-poller/{__version__}",
        },
    )


def _is_heavy(answer: Answer) -> bool:
    compressed = "content-encoding" in answer.headers
    return len(answer.body) > (_HEAVY_COMPRESSED if compressed else _HEAVY)


def _same_origin(text: str, base_url: str, *, action: str) -> httpx.URL:
    """Return the URL of a page if it has the API's own origin, since credentials are sent to it.

    :raises NonsensicalAnswer: where it has another origin, or is not a plain URL.
    """
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        url = httpx.URL()
    if _origin(url) == _origin(httpx.URL(base_url)) and not url.userinfo:
        return url.copy_with(fragment=None)
    raise NonsensicalAnswer(
        action,
        f"the API names a next page outside of {base_url}",
        hint="credentials are not sent there, so the list ends here",
    )


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or DEFAULT_PORTS.get(url.scheme)


def _as_text(value: str | int | datetime) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value)
