"""What the HTTP library raises, as a `NetworkError` that says what broke and where to look."""

import socket
import ssl
from collections.abc import Iterator
from typing import Final

import anyio
import httpx

from poller.comms.errors import Fault, NetworkError

__all__ = ["TROUBLE", "network_error"]

TROUBLE: Final = (
    httpx.HTTPError,
    httpx.InvalidURL,
    OSError,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
)
"""What a transport raises instead of an answer."""

_CERTIFICATE: Final = (
    "the certificate is not trusted: if a proxy or a private authority signed it, point "
    "SSL_CERT_FILE at its certificate (PEM)"
)
_TLS: Final = "check that api.base_url and the proxy variable speak TLS where they say https"
_LOOKUP: Final = "check the host in api.base_url and in the proxy variables, and the name service"
_PROXY: Final = "check HTTPS_PROXY, HTTP_PROXY and ALL_PROXY, or name the host in NO_PROXY"


def network_error(asked: str, error: BaseException) -> NetworkError:
    """Return what `error`, one of `TROUBLE`, means for the request described by `asked`.

    It holds the words of the innermost cause and no reference to it, so that no frame of the HTTP
    library, whose locals are the headers, hangs on it.
    """
    causes = tuple(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return NetworkError(
                asked,
                f"TLS failed: {cause.verify_message}",
                hint=_CERTIFICATE,
                fault=Fault.CONFIGURATION,
            )
        if isinstance(cause, ssl.SSLError):
            return NetworkError(asked, f"TLS failed: {cause.reason or cause}", hint=_TLS)
        if isinstance(cause, socket.gaierror):
            return NetworkError(asked, f"name lookup failed: {cause.strerror}", hint=_LOOKUP)
    if isinstance(error, httpx.ProxyError):
        return NetworkError(asked, f"the proxy refused: {_words(causes)}", hint=_PROXY)
    if isinstance(error, httpx.ConnectError):
        return NetworkError(asked, f"no connection: {_words(causes)}")
    return NetworkError(asked, f"the connection failed: {_words(causes)}")


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    pending = [error]
    while pending:
        cause = pending.pop()
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        if isinstance(cause, BaseExceptionGroup):  # several addresses were tried
            pending.extend(cause.exceptions)
        pending.extend(next_ for next_ in (cause.__context__, cause.__cause__) if next_ is not None)


def _words(causes: tuple[BaseException, ...]) -> str:
    for cause in reversed(causes):
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    return next((str(cause) for cause in causes if str(cause)), type(causes[0]).__name__)
