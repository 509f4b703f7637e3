"""What a failed request means: a sentence for people, what to do, and how long to wait.

No sentence contains the number of a system error, or anything that was sent.
"""

import errno
import os
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

from poller.http.route import Proxy, Route

WANTS_HTTPS: Final = "check whether the address must begin with https://"
WANTS_HTTP: Final = "check whether the address must begin with http://"

_PLAIN_TO_TLS: Final = (
    b"plain http request was sent to https port",  # nginx
    b"sent an http request to an https server",  # Go
    b"speaking plain http to an ssl-enabled server port",  # Apache
    b"combination of host and port requires tls",  # Tomcat
)
_NO_TLS: Final = frozenset(
    {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST"}
)
_CLOSED: Final = frozenset(
    {errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED, errno.ENOTCONN, errno.ESHUTDOWN}
)
_NO_FILES: Final = frozenset({errno.EMFILE, errno.ENFILE})
_BY_ERROR: Final[Mapping[int, str]] = {
    errno.ECONNREFUSED: "connection refused by {peer}",
    errno.ETIMEDOUT: "{peer} does not answer",
    errno.EHOSTUNREACH: "there is no route to {peer}",
    errno.ENETUNREACH: "there is no route to {peer}",
}
_BY_SOCKET: Final[Mapping[int, str]] = {
    errno.ENOENT: "there is no socket {peer}",
    errno.EACCES: "this user may not use the socket {peer}",
}
_EXPIRED: Final = 10  # X509_V_ERR_CERT_HAS_EXPIRED
_OTHER_HOST: Final = frozenset({62, 64})  # X509_V_ERR_HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH
# A fraction is outside the grammar, but servers send it. No server means more than 12 digits.
_SECONDS: Final = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,12})?")
_LONGEST_WAIT: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why there is no answer: `happened` is a clause, `hint` what to check if that is clear.

    `is_configuration` means that the failure stays until the configuration is changed.
    """

    happened: str
    hint: str | None = None
    is_configuration: bool = False

    def __str__(self) -> str:
        return self.happened if self.hint is None else f"{self.happened}; {self.hint}"


def describe_failure(error: BaseException, route: Route) -> Failure:
    """Return the meaning of an error that a transport or a socket raised on `route`.

    The failure keeps no reference to the error, whose frames hold headers.
    """
    failure = _failure(error, route)
    if route.proxy is None or failure.hint is not None:
        return failure
    return Failure(happened=failure.happened, hint=_proxy_hint(route))


def describe_timeout(route: Route, seconds: float | None = None) -> Failure:
    """Return the failure of a request without a complete answer within `seconds`."""
    limit = "in time" if seconds is None else f"within {seconds:g} s"
    if route.proxy is None:
        return Failure(happened=f"no complete answer {limit}")
    return Failure(
        happened=f"no complete answer {limit} through {route.proxy}", hint=_proxy_hint(route)
    )


def describe_answer(status: int, body: bytes, route: Route) -> Failure | None:
    """Return why an answer is not from the intended server; None where it seems to be.

    `body` is its beginning. Either a proxy wants credentials, or a TLS port got a plain request.
    """
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED and route.proxy is not None:
        return _wants_credentials(route.proxy)
    text = body.lower()
    if status == HTTPStatus.BAD_REQUEST and any(words in text for words in _PLAIN_TO_TLS):
        return Failure(
            happened=f"{route.target} expects TLS", hint=WANTS_HTTPS, is_configuration=True
        )
    return None


def _wants_credentials(proxy: Proxy) -> Failure:
    did = "refuses the credentials" if proxy.has_credentials else "wants credentials"
    return Failure(
        happened=f"{proxy} {did} (407)",
        hint=f"write them in {proxy.variable} as http://user:password@{proxy.address}",
        is_configuration=True,
    )


def _failure(error: BaseException, route: Route) -> Failure:
    causes = tuple(_causes(error))
    for read in (_of_tls, _of_system):
        for cause in causes:
            if (found := read(cause, route)) is not None:
                return found
    return _of_httpx(error, route)


def _of_httpx(error: BaseException, route: Route) -> Failure:
    # slow imports that a health check does not need
    import anyio  # noqa: PLC0415
    import httpx  # noqa: PLC0415

    match error:
        case httpx.ProxyError():
            return _refused_tunnel(error, route)
        case httpx.TimeoutException() | TimeoutError():
            return describe_timeout(route)
        case httpx.InvalidURL() | httpx.UnsupportedProtocol() | httpx.LocalProtocolError():
            return Failure(happened=f"no request can be written for {route.target}")
        case httpx.ConnectError() if route.scheme == "https":
            return _closed_in_handshake(route)
        case (
            httpx.HTTPError()
            | anyio.BrokenResourceError()
            | anyio.ClosedResourceError()
            | anyio.EndOfStream()
        ):
            return _of_protocol(str(error), route)
        case _:  # a defect of this program or of a library
            name = type(error).__name__
            return Failure(happened=f"the request to {route.target} failed unexpectedly: {name}")


def _of_tls(cause: BaseException, route: Route) -> Failure | None:
    import ssl  # noqa: PLC0415 - slow, and rarely needed

    if not isinstance(cause, ssl.SSLError):
        return None
    is_proxy_encrypted = route.proxy is not None and route.proxy.scheme == "https"
    server = f"{route.target} or of {route.proxy}" if is_proxy_encrypted else route.target
    if isinstance(cause, ssl.SSLCertVerificationError):
        return Failure(
            happened=f"the TLS certificate of {server} is not trusted: "
            f"{cause.verify_message.rstrip('.')}",
            hint=_certificate_hint(cause.verify_code),
            is_configuration=True,
        )
    if isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return _closed_in_handshake(route)
    if cause.reason in _NO_TLS:
        if is_proxy_encrypted and route.proxy is not None:
            hint = f"check whether the address in {route.proxy.variable} must begin with http://"
            return Failure(happened=f"{route.proxy} does not speak TLS", hint=hint)
        return Failure(happened=f"{route.target} does not speak TLS", hint=WANTS_HTTP)
    reason = (cause.reason or "unknown reason").replace("_", " ").lower()
    return Failure(happened=f"no TLS connection with {route.target}: {reason}")


def _certificate_hint(code: int) -> str:
    if code == _EXPIRED:
        return "the certificate must be renewed; check the clock of this machine too"
    if code in _OTHER_HOST:
        return "check the host in the URL: the certificate is for another one"
    return (
        "if a proxy or a private authority signed it, point SSL_CERT_FILE at the certificate "
        "of that authority (PEM)"
    )


def _of_system(cause: BaseException, route: Route) -> Failure | None:
    """Return what an error of the operating system means; None where it only wraps another."""
    if not isinstance(cause, OSError):
        return None
    if isinstance(cause, socket.gaierror):
        return _of_lookup(cause, route)
    number = cause.errno or 0
    if number in _CLOSED:
        return _closed(route)
    if number in _NO_FILES:
        return Failure(happened="too many open files", hint="raise their limit (ulimit -n)")
    if number not in errno.errorcode:
        return None
    words = (_BY_SOCKET if route.socket else {}).get(number) or _BY_ERROR.get(number)
    happened = words or f"no connection to {{peer}}: {os.strerror(number).lower()}"
    return Failure(happened=happened.format(peer=route.peer))


def _of_lookup(cause: socket.gaierror, route: Route) -> Failure:
    name = route.host if route.proxy is None else f"{route.proxy.host}, the host of {route.proxy},"
    if cause.errno == socket.EAI_AGAIN:
        return Failure(happened=f"the name {name} cannot be looked up now: no DNS server answers")
    return Failure(happened=f"the name {name} does not resolve")


def _of_protocol(message: str, route: Route) -> Failure:
    """Read the message of the HTTP library: nothing else distinguishes these cases."""
    if "without sending complete message body" in message:
        return Failure(
            happened=f"{_speaker(route)} closed the connection in the middle of the answer"
        )
    if message and "disconnected" not in message:
        hint = WANTS_HTTPS if route.scheme == "http" and route.proxy is None else None
        return Failure(happened=f"{_speaker(route)} answered, but not in HTTP/1.1", hint=hint)
    return _closed(route)


def _closed(route: Route) -> Failure:
    hint = WANTS_HTTPS if route.scheme == "http" and not (route.proxy or route.socket) else None
    return Failure(
        happened=f"{_speaker(route)} closed the connection without a complete answer", hint=hint
    )


def _closed_in_handshake(route: Route) -> Failure:
    hint = WANTS_HTTP if route.proxy is None else None
    return Failure(
        happened=f"{_speaker(route)} closed the connection during the TLS handshake", hint=hint
    )


def _refused_tunnel(error: BaseException, route: Route) -> Failure:
    number = str(error)[:3]
    status = int(number) if number.isdecimal() else 0
    if (found := describe_answer(status, b"", route)) is not None:
        return found
    phrases = {known.value: f": {known.value} {known.phrase}" for known in HTTPStatus}
    return Failure(
        happened=f"{route.peer} does not connect to {route.target}{phrases.get(status, '')}",
    )


def _speaker(route: Route) -> str:
    """Name the server that closed the connection: behind a proxy it may be either of the two."""
    return route.target if route.proxy is None else f"{route.target} or {route.proxy}"


def _proxy_hint(route: Route) -> str:
    variable = route.proxy.variable if route.proxy else "HTTPS_PROXY"
    return f"check {variable} and the proxy, or name {route.host} in NO_PROXY"


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


def read_retry_after(value: str | None, *, date: str | None, now: datetime) -> float | None:
    """Return the seconds ≥ 0 that a `Retry-After` of `value` asks for, without an upper bound.

    An HTTP date is measured from the answer's own `date` header, so that neither clock matters;
    from `now` (UTC) where that is absent or unreadable. None where `value` is absent, unreadable,
    or lies in the past.
    """
    if value is None or len(value) > _LONGEST_WAIT:
        return None
    text = value.strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    until = _http_date(text)
    if until is None:
        return None
    answered = _http_date(date) if date is not None else None
    seconds = (until - (answered or now)).total_seconds()
    return seconds if seconds >= 0 else None


def _http_date(text: str) -> datetime | None:
    if len(text) > _LONGEST_WAIT:
        return None
    # imported here: a health check, which runs every few seconds, never reads a date
    from email.utils import parsedate_to_datetime  # noqa: PLC0415

    try:
        instant = parsedate_to_datetime(text)
        # The asctime form has no zone and means UTC, like the others.
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
