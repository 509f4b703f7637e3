"""How requests leave this machine: the usual proxy and certificate variables, for every client.

`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`, `SSL_CERT_FILE` and `SSL_CERT_DIR` are read
once, for one URL, when a client is made. A client that is given another transport asks
`proxy_for` and `tls_context` for the same answers.
"""

import os
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Final, cast
from urllib.request import getproxies, proxy_bypass

import anyio
import httpx

__all__ = ["EgressError", "Lanes", "open_transport", "proxy_for", "tls_context"]

# Shorter than the idle time of the usual servers and balancers, so that they rarely hang up on us.
_KEEPALIVE_SECONDS: Final = 15.0


class EgressError(ValueError):
    """A proxy or certificate variable that cannot be used; the message names it and the fix."""


def tls_context() -> ssl.SSLContext:
    """Return a context that trusts `SSL_CERT_FILE`, else `SSL_CERT_DIR`, else the bundled roots.

    :raises EgressError: if the file or directory of the variable cannot be read.
    """
    try:
        return httpx.create_ssl_context()
    except OSError as error:  # ssl.SSLError is one
        name = "SSL_CERT_FILE" if os.environ.get("SSL_CERT_FILE") else "SSL_CERT_DIR"
        raise EgressError(
            f"{name} is {os.environ.get(name)!r}, which cannot be used "
            f"({error.strerror or error}); it must be readable and hold PEM certificates"
        ) from None


def proxy_for(url: str) -> httpx.Proxy | None:
    """Return the proxy that the environment asks for on the way to `url`, None for a direct way.

    :raises EgressError: if the variable holds no proxy address; it is not repeated, for it may
        hold a password.
    """
    target = httpx.URL(url)
    proxies = getproxies()
    address = proxies.get(target.scheme) or proxies.get("all")
    port = target.port or (443 if target.scheme == "https" else 80)
    if not address or proxy_bypass(f"{target.host}:{port}"):
        return None
    try:
        return httpx.Proxy(address if "://" in address else f"http://{address}")
    except (ValueError, httpx.InvalidURL):
        raise _bad_proxy(target.scheme) from None


def open_transport(url: str, *, max_connections: int) -> "Lanes":
    """Return an HTTP/1.1 transport for requests to `url`, as the environment wants them to leave.

    :raises EgressError: if one of the variables cannot be used.
    """
    scheme = httpx.URL(url).scheme
    proxy = proxy_for(url)
    # Where nothing is encrypted an empty trust store does, and saves reading the roots.
    context = tls_context() if scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    def lane() -> httpx.AsyncHTTPTransport:
        return httpx.AsyncHTTPTransport(
            verify=context,
            trust_env=False,
            proxy=proxy,
            limits=httpx.Limits(max_connections=1, keepalive_expiry=_KEEPALIVE_SECONDS),
        )

    try:
        return Lanes(lane, most=max_connections)
    except ImportError:  # SOCKS wants a package that is not ours
        raise _bad_proxy(scheme) from None


class Lanes(httpx.AsyncBaseTransport):
    """At most so many connections, each in a transport of its own, which `make` makes.

    The HTTP library's pool asks every connection that it holds whether it is still good, before and
    after every request: with sixteen that costs more than the request. A lane has one to ask. The
    one that was used last is used next, so that what is not needed grows idle and is closed.
    """

    def __init__(self, make: Callable[[], httpx.AsyncBaseTransport], *, most: int) -> None:
        # one at once: what cannot be made shows when the transport is made
        self._free = [make()]
        self._all = list(self._free)
        self._make = make
        self._room = anyio.Semaphore(most, max_value=most)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request as soon as a lane is free; it is taken until the response is closed."""
        await self._room.acquire()
        lane = self._free.pop() if self._free else self._new()
        try:
            response = await lane.handle_async_request(request)
        except BaseException:
            self._give_back(lane)
            raise
        held = _Held(response, lambda: self._give_back(lane))
        return httpx.Response(
            response.status_code,
            headers=response.headers,
            stream=held,
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        """Close every connection."""
        for lane in self._all:
            await lane.aclose()

    def _new(self) -> httpx.AsyncBaseTransport:
        lane = self._make()
        self._all.append(lane)
        return lane

    def _give_back(self, lane: httpx.AsyncBaseTransport) -> None:
        self._free.append(lane)
        self._room.release()


class _Held(httpx.AsyncByteStream):
    """The body of a response; `closed` is called once when nobody reads it any more."""

    def __init__(self, response: httpx.Response, closed: Callable[[], None]) -> None:
        self._response = response
        self._closed: Callable[[], None] | None = closed

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._body:
            yield part

    async def aclose(self) -> None:
        """Close the response, and let the next request have its lane."""
        closed, self._closed = self._closed, None
        if closed is None:
            return
        try:
            await self._body.aclose()
        finally:
            closed()

    @property
    def _body(self) -> httpx.AsyncByteStream:
        return cast("httpx.AsyncByteStream", self._response.stream)


def _bad_proxy(scheme: str) -> EgressError:
    return EgressError(
        f"the proxy that {scheme.upper()}_PROXY or ALL_PROXY names cannot be used; "
        "write it as http://host:port, or name the host of the URL in NO_PROXY"
    )
