"""The connections over a given route: few, not too old, and none idle for long."""

import os
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import anyio
import httpx

from poller.http.route import EgressError, Route

GREATEST_AGE: Final = 60.0
"""Seconds after which a connection takes no further request, so that DNS changes are followed."""
KEEPALIVE: Final = 15.0
"""Seconds without a request after which a connection is closed.

Shorter than the idle time of the usual servers and balancers, so that they rarely close it first.
"""
TROUBLE: Final = (
    httpx.HTTPError,
    httpx.InvalidURL,
    OSError,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
)
"""What a transport raises when there is no answer."""

_CLOSE_TIMEOUT: Final = 1.0
_WITHOUT_BODY: Final = frozenset({204, 304})


def tls_context() -> ssl.SSLContext:
    """Return a context that trusts `SSL_CERT_FILE`, else `SSL_CERT_DIR`, else the bundled roots.

    :raises EgressError: if the file or directory of the variable cannot be read.
    """
    try:
        return httpx.create_ssl_context()
    except OSError as error:  # ssl.SSLError is one
        name = "SSL_CERT_FILE" if os.environ.get("SSL_CERT_FILE") else "SSL_CERT_DIR"
        raise EgressError(
            f"{name} is {os.environ.get(name)!r}, which cannot be used ({_reason(error)})",
            "it must be readable and hold PEM certificates",
        ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files for the TLS connections to one server; `setting` is the prefix of their settings.

    `ca` contains the roots to trust in place of the usual ones. `client_cert` is the client
    certificate; its key is in `client_key`, else in the same file.
    """

    setting: str
    ca: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Read the files.

        :raises EgressError: if one cannot be used; it names the setting, and nothing of a key.
        """
        context = tls_context() if self.ca is None else self._trusting(self.ca)
        if self.client_cert is not None:
            try:
                # with an empty password an encrypted key fails; without one, OpenSSL would prompt
                context.load_cert_chain(self.client_cert, self.client_key, password="")
            except OSError as error:  # ssl.SSLError is one
                names = "client_cert" if self.client_key is None else "client_cert and client_key"
                raise EgressError(
                    f"{self.setting}.{names} cannot be used ({_reason(error)})",
                    "they must be readable and hold a PEM certificate and its key, unencrypted",
                ) from None
        return context

    def _trusting(self, ca: Path) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=ca)
        except OSError as error:
            raise EgressError(
                f"{self.setting}.ca is {str(ca)!r}, which cannot be used ({_reason(error)})",
                "it must be readable and hold PEM certificates",
            ) from None


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return error.strerror or error.__class__.__name__


def open_transport(route: Route, *, max_connections: int, tls: TlsFiles | None = None) -> "Lanes":
    """Return an HTTP/1.1 transport for requests that take `route`.

    `tls` is for the server, not for a proxy.

    :raises EgressError: if a certificate variable, or a file of `tls`, cannot be used.
    """
    is_proxy_encrypted = route.proxy is not None and route.proxy.scheme == "https"
    is_encrypted = route.scheme == "https" or is_proxy_encrypted
    # Without encryption an empty trust store is enough, and saves reading the roots.
    usual = tls_context() if is_encrypted else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context = usual if tls is None else tls.context()
    proxy = None
    if route.proxy is not None:
        # the library accepts a context for a proxy only where the connection to it uses TLS
        proxy = httpx.Proxy(route.proxy.url, ssl_context=usual if is_proxy_encrypted else None)

    def lane() -> httpx.AsyncHTTPTransport:
        return httpx.AsyncHTTPTransport(
            verify=context,
            trust_env=False,
            proxy=proxy,
            uds=route.socket,
            limits=httpx.Limits(max_connections=1, keepalive_expiry=KEEPALIVE),
        )

    return Lanes(lane, most=max_connections)


@dataclass(slots=True, eq=False)
class _Lane:
    """A transport with one connection; times are on the clock of the `Lanes`."""

    transport: httpx.AsyncBaseTransport
    opened: float
    used: float
    is_outdated: bool = False


class Lanes(httpx.AsyncBaseTransport):
    """At most `most` connections, each in a transport of its own that `make` creates.

    The HTTP library's pool checks every connection that it holds, before and after every request:
    with sixteen that costs more than the request. A lane has one connection to check. The lane that
    was used last is used next, so that connections that are not needed become idle and are closed.

    A connection that is older than `GREATEST_AGE` or from before `renew` is closed when its
    request has ended, and a new one looks the host up again. So is one that brought more than the
    answer, or a 204 that announces a body. One that was idle for `KEEPALIVE` is closed when any
    other request begins or ends. `clock` counts seconds.
    """

    def __init__(
        self,
        make: Callable[[], httpx.AsyncBaseTransport],
        *,
        most: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._free: list[_Lane] = []  # the one that was used last is at the end
        self._busy: set[_Lane] = set()
        self._make = make
        self._clock = clock
        self._room = anyio.Semaphore(most, max_value=most)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request as soon as a lane is free; it is taken until the response is closed."""
        await self._room.acquire()
        try:
            lane = await self._take()
        except BaseException:
            self._room.release()
            raise
        try:
            response = await lane.transport.handle_async_request(request)
        except BaseException:
            await self._give_back(lane)
            raise
        if _may_have_stray_body(response):
            lane.is_outdated = True
        return httpx.Response(
            response.status_code,
            headers=response.headers,
            stream=_Held(response, lambda: self._give_back(lane)),
            extensions=response.extensions,
        )

    async def renew(self) -> None:
        """Use new connections from the next request on; requests under way end on theirs."""
        for lane in self._busy:
            lane.is_outdated = True
        idle, self._free = self._free, []
        await _close(idle)

    async def aclose(self) -> None:
        """Close every connection."""
        lanes = [*self._free, *self._busy]
        self._free.clear()
        self._busy.clear()
        await _close(lanes)

    async def _take(self) -> _Lane:
        await self._close_stale()
        now = self._clock()
        lane = self._free.pop() if self._free else _Lane(self._make(), opened=now, used=now)
        self._busy.add(lane)
        return lane

    async def _give_back(self, lane: _Lane) -> None:
        lane.used = self._clock()
        if _has_leftover(lane.transport):
            lane.is_outdated = True
        if lane in self._busy:  # else all were closed meanwhile
            self._busy.remove(lane)
            self._free.append(lane)
        try:
            await self._close_stale()
        finally:
            self._room.release()

    async def _close_stale(self) -> None:
        now = self._clock()
        stale = [lane for lane in self._free if _is_stale(lane, now)]
        if stale:
            self._free = [lane for lane in self._free if lane not in stale]
            await _close(stale)


def _is_stale(lane: _Lane, now: float) -> bool:
    return lane.is_outdated or now - lane.opened >= GREATEST_AGE or now - lane.used >= KEEPALIVE


def _may_have_stray_body(response: httpx.Response) -> bool:
    """Whether a body may follow where HTTP allows none: read as the next answer, it breaks that."""
    if response.status_code not in _WITHOUT_BODY:
        return False
    length = response.headers.get("content-length", "0").strip()
    return length != "0" or "transfer-encoding" in response.headers


def _has_leftover(transport: httpx.AsyncBaseTransport) -> bool:
    """Whether more bytes came than the answer: the next request would get them as its answer.

    Only attributes of the library that are not documented show it.
    """
    for found in getattr(getattr(transport, "_pool", None), "connections", ()):
        connection = found
        while connection is not None and not hasattr(connection, "_h11_state"):
            connection = getattr(connection, "_connection", None)  # that of a proxy holds another
        if connection is not None and connection._h11_state.trailing_data[0]:  # noqa: SLF001
            return True
    return False


async def _close(lanes: list[_Lane]) -> None:
    # nothing else refers to these lanes now: one that is not closed here would stay open
    for lane in lanes:
        with anyio.move_on_after(_CLOSE_TIMEOUT, shield=True), suppress(*TROUBLE):
            await lane.transport.aclose()


class _Held(httpx.AsyncByteStream):
    """The body of a response; `closed` is called once when the reader has closed it."""

    def __init__(self, response: httpx.Response, closed: Callable[[], Awaitable[None]]) -> None:
        self._response = response
        self._closed: Callable[[], Awaitable[None]] | None = closed

    def __aiter__(self) -> AsyncIterator[bytes]:
        # not a generator: a reader that stops early would have to close it
        return aiter(self._body)

    async def aclose(self) -> None:
        """Close the response, and free its lane for the next request."""
        closed, self._closed = self._closed, None
        if closed is None:
            return
        try:
            await self._body.aclose()
        finally:
            await closed()

    @property
    def _body(self) -> httpx.AsyncByteStream:
        return cast("httpx.AsyncByteStream", self._response.stream)
