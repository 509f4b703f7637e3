"""Sends one request and reads its answer: a decoded document, or one of the errors.

Sending has a deadline and a size limit. Pure functions decide what a complete answer means.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar, cast

import anyio
import httpx

from poller.comms.decoding import Nonsensical, Overflow, Undecodable, inflate, parse_json
from poller.comms.errors import (
    CommsError,
    DeadlineExceeded,
    Fault,
    Forbidden,
    NetworkError,
    NonsensicalAnswer,
    NotFound,
    Rejected,
    ServerError,
    Throttled,
    TooLarge,
    Unauthorized,
    Unavailable,
    Unexpected,
)
from poller.contacts import scrub
from poller.http.failures import (
    Failure,
    describe_answer,
    describe_failure,
    describe_timeout,
    read_retry_after,
)
from poller.http.route import Route
from poller.http.transport import TROUBLE

Decoded = TypeVar("Decoded")

MOST_OF_A_REFUSAL: Final = 64 * 1024
"""Bytes of a refusal's body that are searched for the vendor's envelope."""

_BY_STATUS: Final[Mapping[int, type[CommsError]]] = {
    400: Rejected,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    429: Throttled,
    503: Unavailable,
}
_MISDIRECTED: Final = frozenset((*range(300, 400), 407))
_LARGEST_CODE: Final = 10**9
_HINTS: Final[Mapping[range, str]] = {
    range(300, 400): (
        "redirects are not followed, because that would send the credentials along; "
        "set api.base_url to where the API is"
    ),
    range(407, 408): "a proxy in between wants credentials, but no proxy variable names it",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP answer, read to its end or its bound.

    The names in `headers` are in lower case; `body` is as it came, before `Content-Encoding` is
    undone.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def successful(self) -> bool:
        """Whether the status is a success."""
        return 200 <= self.status < 300  # noqa: PLR2004 - the class of success, RFC 9110


@dataclass(frozen=True, slots=True, kw_only=True)
class _ErrorDetails:
    code: int | None = None
    text: str | None = None
    enveloped: bool = False


def decode_answer(
    answer: Answer, decode: Callable[[object], Decoded], *, action: str, limit: int
) -> Decoded:
    """Return the decoded JSON of a successful answer of at most `limit` bytes.

    :raises NonsensicalAnswer: where `decode` finds it `Nonsensical`.
    :raises Unexpected: where it is not JSON at all, such as HTML or nothing.
    :raises TooLarge: where it inflates to more than `limit` bytes.
    """
    failure: CommsError
    try:
        return decode(parse_json(_inflated(answer, limit)))
    except Nonsensical as problem:
        failure = NonsensicalAnswer(
            action, f"the answer makes no sense: {problem}", status=answer.status
        )
    except Undecodable as problem:
        failure = Unexpected(
            action,
            f"the API answered {answer.status}, but the body {problem}",
            status=answer.status,
        )
    except Overflow:
        failure = too_large(action, answer.status, limit)
    raise failure


def read_refusal(
    answer: Answer, *, action: str, now: datetime, redact: Callable[[str], str]
) -> CommsError:
    """Return the error for an answer that is not a success, whatever its body holds.

    `now` replaces a missing `Date`. The API's message passes through `redact`; addresses are
    removed as well, since it may quote those of recipients.
    """
    details = _read_envelope(answer)
    return _class_of(answer.status)(
        action,
        f"the API answered {answer.status}",
        status=answer.status,
        code=details.code,
        text=None if details.text is None else scrub(redact(details.text)),
        enveloped=details.enveloped,
        retry_after=read_retry_after(
            answer.headers.get("retry-after"), date=answer.headers.get("date"), now=now
        ),
        hint=next((hint for among, hint in _HINTS.items() if answer.status in among), None),
        fault=Fault.CONFIGURATION if answer.status in _MISDIRECTED else None,
    )


def too_large(action: str, status: int, limit: int) -> TooLarge:
    """Return the error of a body of more than `limit` bytes."""
    return TooLarge(action, f"the API answered {status} with over {limit} bytes", status=status)


def _class_of(status: int) -> type[CommsError]:
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return ServerError if 500 <= status < 600 else Unexpected  # noqa: PLR2004 - 5xx


def _inflated(answer: Answer, limit: int) -> bytes:
    encoding = answer.headers.get("content-encoding", "")
    return inflate(answer.body, encoding=encoding, limit=limit)


def _read_envelope(answer: Answer) -> _ErrorDetails:
    try:
        document = parse_json(_inflated(answer, MOST_OF_A_REFUSAL))
    except (Undecodable, Overflow):
        return _ErrorDetails()
    if not isinstance(document, dict):
        return _ErrorDetails()
    listed = document.get("errors")
    if isinstance(listed, list) and listed and isinstance(listed[0], dict):
        found = _read_error(listed[0], enveloped=True)
        return found if found.code is not None or found.text is not None else _ErrorDetails()
    # The vendor's older APIs have these members outside of a list: shown, but not the envelope.
    return _read_error(document, enveloped=False)


def _read_error(error: Mapping[str, Any], *, enveloped: bool) -> _ErrorDetails:
    code, message = error.get("code"), error.get("message")
    return _ErrorDetails(
        code=code if type(code) is int and 0 <= code < _LARGEST_CODE else None,
        text=message if isinstance(message, str) and message.strip() else None,
        enveloped=enveloped,
    )


# Seconds to wait for the body of a refusal, whose status is enough.
_REFUSAL_BODY_TIMEOUT: Final = 2.0
_CLOSE_TIMEOUT: Final = 1.0

Result = TypeVar("Result")


async def exchange(
    transport: httpx.AsyncBaseTransport,
    request: httpx.Request,
    *,
    route: Route,
    action: str,
    limit: int,
    timeout: float,  # noqa: ASYNC109 - it becomes the error that says so
) -> Answer:
    """Send `request` and return its complete answer within `timeout` seconds.

    `action` and `route`, the route that the transport takes, are for messages only.
    `limit` bounds the body of a success in bytes, as received, before decompression. A refusal is
    always returned: a body that is late, broken or long is left out.

    :raises DeadlineExceeded: where the last byte has not come in time, even if data still arrives.
    :raises TooLarge: as soon as the bound is exceeded.
    :raises NetworkError: where there is no connection, it breaks, or a proxy refuses.
    """
    deadline = anyio.current_time() + timeout
    late = describe_timeout(route, timeout)
    attempt = _Attempt(
        route=route,
        deadline=deadline,
        action=action,
        late=DeadlineExceeded(action, late.happened, hint=late.hint),
    )
    response = await attempt.wait(transport.handle_async_request(request))
    try:
        if response.is_success:
            body = await attempt.wait(_read_body(response, limit))
            if len(body) > limit:
                raise too_large(action, response.status_code, limit)
        else:
            body = await _read_refused(response, deadline)
    finally:
        with anyio.move_on_after(_CLOSE_TIMEOUT, shield=True), suppress(*TROUBLE):
            await response.aclose()
    if (failure := describe_answer(response.status_code, body, route)) is not None:
        raise _network_error(action, failure)
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(status=response.status_code, headers=headers, body=body)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    route: Route
    deadline: float
    action: str
    late: DeadlineExceeded

    async def wait(self, work: Awaitable[Result]) -> Result:
        """Wait for a part of the request; turn a failure into a `CommsError`."""
        error: CommsError = self.late
        try:
            with anyio.CancelScope(deadline=self.deadline):
                return await work
        except TROUBLE as trouble:
            error = _network_error(self.action, describe_failure(trouble, self.route))
        # Outside the handler: the error must not refer to the library's frames, which hold headers.
        raise error


def _network_error(action: str, failure: Failure) -> NetworkError:
    fault = Fault.CONFIGURATION if failure.is_configuration else None
    return NetworkError(action, failure.happened, hint=failure.hint, fault=fault)


async def _read_body(response: httpx.Response, limit: int) -> bytes:
    """Return the body, still compressed; a little over `limit` bytes where it is longer."""
    body = bytearray()
    stream = cast("httpx.AsyncByteStream", response.stream)
    async with aclosing(cast("AsyncGenerator[bytes, None]", aiter(stream))) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > limit:
                break
    return bytes(body)


async def _read_refused(response: httpx.Response, deadline: float) -> bytes:
    """Return the body of a refusal; empty where it is late, incomplete or long."""
    body_deadline = min(deadline, anyio.current_time() + _REFUSAL_BODY_TIMEOUT)
    with anyio.CancelScope(deadline=body_deadline), suppress(*TROUBLE):
        body = await _read_body(response, MOST_OF_A_REFUSAL)
        return body if len(body) <= MOST_OF_A_REFUSAL else b""
    return b""
