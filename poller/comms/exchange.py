"""One request and its whole answer: on time and bounded, or an error that says why not."""

from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Final, TypeVar, cast

import anyio
import httpx

from poller.comms.answers import MOST_OF_A_REFUSAL, Answer, too_large
from poller.comms.errors import CommsError, DeadlineExceeded, Fault, NetworkError
from poller.http.failures import Failure, describe_answer, describe_failure, describe_timeout
from poller.http.route import Route
from poller.http.transport import TROUBLE

__all__ = ["exchange"]

# A refusal says all in its status: its body is not worth more patience than this, in seconds.
_PATIENCE_FOR_A_REFUSAL: Final = 2.0
_PATIENCE_FOR_CLOSING: Final = 1.0

Result = TypeVar("Result")


async def exchange(
    transport: httpx.AsyncBaseTransport,
    request: httpx.Request,
    *,
    route: Route,
    asked: str,
    limit: int,
    timeout: float,  # noqa: ASYNC109 - it becomes the error that says so
) -> Answer:
    """Send `request` and return its answer, all of it within `timeout` seconds.

    `route` is the way that the transport takes; it is for messages only.
    `limit` bounds the body of a success in bytes, as it comes over the wire. A refusal is returned
    whatever its body does: what is late, broken or long is left out.

    :raises DeadlineExceeded: where the last byte has not come in time, however busy the line is.
    :raises TooLarge: as soon as the bound is passed.
    :raises NetworkError: where there is no connection, it breaks, or a proxy refuses.
    """
    deadline = anyio.current_time() + timeout
    late = describe_timeout(route, timeout)
    attempt = _Attempt(
        route=route,
        deadline=deadline,
        asked=asked,
        late=DeadlineExceeded(asked, late.happened, hint=late.hint),
    )
    response = await attempt.wait(transport.handle_async_request(request))
    try:
        if response.is_success:
            body = await attempt.wait(_read_body(response, limit))
            if len(body) > limit:
                raise too_large(asked, response.status_code, limit)
        else:
            body = await _read_refused(response, deadline)
    finally:
        with anyio.move_on_after(_PATIENCE_FOR_CLOSING, shield=True), suppress(*TROUBLE):
            await response.aclose()
    if (failure := describe_answer(response.status_code, body, route)) is not None:
        raise _network_error(asked, failure)
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(status=response.status_code, headers=headers, body=body)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    route: Route
    deadline: float
    asked: str
    late: DeadlineExceeded

    async def wait(self, work: Awaitable[Result]) -> Result:
        """Wait for a part of the request; what breaks on the way is a `CommsError`."""
        error: CommsError = self.late
        try:
            with anyio.CancelScope(deadline=self.deadline):
                return await work
        except TROUBLE as trouble:
            error = _network_error(self.asked, describe_failure(trouble, self.route))
        # Outside the handler, so that the library's frames, which hold headers, do not come along.
        raise error


def _network_error(asked: str, failure: Failure) -> NetworkError:
    fault = Fault.CONFIGURATION if failure.is_configuration else None
    return NetworkError(asked, failure.happened, hint=failure.hint, fault=fault)


async def _read_body(response: httpx.Response, limit: int) -> bytes:
    """Return the body as it comes, still compressed; a little over `limit` bytes if it goes on."""
    body = bytearray()
    stream = cast("httpx.AsyncByteStream", response.stream)
    async with aclosing(cast("AsyncGenerator[bytes, None]", aiter(stream))) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > limit:
                break
    return bytes(body)


async def _read_refused(response: httpx.Response, deadline: float) -> bytes:
    """Return the body of a refusal; nothing where it does not come soon, whole and short."""
    patience = min(deadline, anyio.current_time() + _PATIENCE_FOR_A_REFUSAL)
    with anyio.CancelScope(deadline=patience), suppress(*TROUBLE):
        body = await _read_body(response, MOST_OF_A_REFUSAL)
        return body if len(body) <= MOST_OF_A_REFUSAL else b""
    return b""
