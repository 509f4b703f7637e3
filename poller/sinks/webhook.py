"""The webhook sink: one POST per event, signed where there is a secret."""

import os
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy

import anyio
import anyio.to_thread
import httpx
from pydantic import SecretStr

from poller import __version__
from poller.clock import wall_clock
from poller.http.failures import (
    Failure,
    describe_answer,
    describe_failure,
    describe_timeout,
)
from poller.http.route import EgressError, Route, find_route
from poller.http.transport import Lanes, TlsFiles, open_transport
from poller.sinks.base import OutgoingEvent, SinkOutcome, SinkUnavailable, SinkVerdict
from poller.sinks.formats import CLOUDEVENTS, BodyFormat
from poller.sinks.receiver import EXCERPT_CHARACTERS, check_header, check_url, interpret, scrub
from poller.sinks.signature import parse_secret, sign

_MOST_CONNECTIONS = 30
"""The cost of httpx's pool is quadratic: with more connections, throughput falls."""
_BODY_BYTES = 1 << 16
_CLOSING = 0.05
"""Seconds before the deadline at which reading a body ends, so that its status still counts."""
_BODY_TIMEOUT = 1.0
"""Seconds to read the body of an answer, whose status decides the outcome."""
_TOKEN_LENGTH = 16
"""A segment of a path that is this long or longer may be a token."""
_MARGIN = 2.0
"""Seconds that closing a connection may outlast the timeout."""


class WebhookSink:
    """Events by HTTP POST in one format, signed after Standard Webhooks where there is a secret.

    `timeout` is in seconds, from connect to the answer's last byte. `transport` replaces httpx's
    own, and with it the proxy and certificate variables. `tls` are files for the connections to
    the receiver.
    """

    batch_size = 1

    def __init__(  # noqa: PLR0913 - each is a setting
        self,
        *,
        name: str,
        url: str,
        secret: SecretStr | None = None,
        headers: Mapping[str, SecretStr] | None = None,
        timeout: float = 15.0,
        body_format: BodyFormat = CLOUDEVENTS,
        tls: TlsFiles | None = None,
        concurrency: int | None = None,
        clock: Callable[[], datetime] = wall_clock,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Check the arguments.

        :raises ValueError: if url, secret, a header or concurrency is wrong; the message repeats
            no value.
        """
        self.name = name
        self.concurrency = _checked_concurrency(
            body_format.concurrency if concurrency is None else concurrency
        )
        check_url(url)
        self._format = body_format
        self._url = httpx.URL(url)
        self._keys = parse_secret(secret.get_secret_value()) if secret else ()
        self._headers = _base_headers(body_format, headers or {})
        self._secrets = _texts_to_hide(self._url, secret, headers or {})
        if body_format.query:
            self._url = self._url.copy_merge_params(dict(body_format.query))
        self._timeout = timeout
        self._tls = tls
        self._clock = clock
        self._route = Route.direct(url)
        self._transport = transport
        self._client: httpx.AsyncClient | None = None
        self._starting = anyio.Lock()

    @property
    def deadline(self) -> float:
        """Seconds after which a `deliver` has certainly ended."""
        return self._timeout + _MARGIN

    @property
    def is_closed(self) -> bool:
        """Return False: each request may find the receiver again."""
        return False

    @property
    def place(self) -> str:
        """The receiver as it may be shown: no path, query or credentials."""
        return f"{self._url.scheme}://{self._url.netloc.decode('ascii')}"

    async def start(self) -> None:
        """Load certificates and proxies; posts nothing.

        :raises SinkUnavailable: if a proxy or certificate variable, or a file, cannot be used.
        """
        await self._ready()

    async def recall(self, event_ids: Collection[str]) -> frozenset[str]:  # noqa: ARG002  (protocol)
        """Return nothing: receivers recognize repetitions by the id."""
        return frozenset()

    async def deliver(self, batch: Sequence[OutgoingEvent]) -> Sequence[SinkOutcome]:
        """Post each event, one after the other."""
        return [await self._attempt(event) for event in batch]

    async def reopen(self) -> None:
        """Use new connections from the next event on; requests under way end on theirs."""
        if isinstance(self._transport, Lanes):
            await self._transport.renew()

    async def aclose(self) -> None:
        """Close all connections."""
        client, self._client = self._client, None
        if client is not None:
            with anyio.CancelScope(shield=True):
                await client.aclose()

    async def _attempt(self, event: OutgoingEvent) -> SinkOutcome:
        try:
            with anyio.fail_after(self._timeout):
                outcome = await self._post(event)
        except TimeoutError:
            outcome = self._failed(describe_timeout(self._route, self._timeout))
        except SinkUnavailable as fault:
            outcome = SinkOutcome(verdict=SinkVerdict.FAILED, error=str(fault))
        except Exception as fault:  # noqa: BLE001  (any exception is a failed attempt)
            outcome = self._failed(describe_failure(fault, self._route))
        return outcome if outcome.error is None else self._without_secrets(outcome)

    async def _post(self, event: OutgoingEvent) -> SinkOutcome:
        client = await self._ready()
        body = self._format.encode(event)
        signature = self._signature_headers(event.id, body)
        headers = {**self._headers, **event.headers, **signature}
        request = client.build_request("POST", self._url, content=body, headers=headers)
        async with _answer(self._opened, request) as response:
            excerpt = await _beginning(response)
            failure = describe_answer(response.status_code, excerpt, self._route)
            if failure is not None:
                return self._failed(failure, status=response.status_code)
            return interpret(
                status=response.status_code,
                headers=response.headers,
                body=excerpt,
                place=self.place,
                now=self._clock(),
            )

    @property
    def _opened(self) -> httpx.AsyncBaseTransport:
        if self._transport is None:
            raise RuntimeError("the sink is not started")
        return self._transport

    def _failed(self, failure: Failure, *, status: int | None = None) -> SinkOutcome:
        hint = failure.hint or f"check that the receiver runs, and sinks.{self.name}.url"
        error = f"{self.place}: {failure.happened}; {hint}"
        return SinkOutcome(verdict=SinkVerdict.FAILED, status=status, error=error)

    def _signature_headers(self, event_id: str, body: bytes) -> dict[str, str]:
        """Sign at each attempt: receivers refuse timestamps that are minutes old."""
        now = int(self._clock().timestamp())
        headers = {"webhook-id": event_id, "webhook-timestamp": str(now)}
        if self._keys:
            headers["webhook-signature"] = sign(
                keys=self._keys, message_id=event_id, timestamp=now, body=body
            )
        return headers

    def _without_secrets(self, outcome: SinkOutcome) -> SinkOutcome:
        """Remove the sink's secrets, which the receiver may have echoed, and shorten the text."""
        error = scrub(outcome.error or "", self._secrets)
        most = EXCERPT_CHARACTERS + len(self.place)
        return SinkOutcome(
            verdict=outcome.verdict,
            status=outcome.status,
            error=error if len(error) <= most else error[: most - 1] + "…",
            retry_after=outcome.retry_after,
        )

    async def _ready(self) -> httpx.AsyncClient:
        async with self._starting:
            if self._client is None:
                self._client = await anyio.to_thread.run_sync(self._make_client)
            return self._client

    def _make_client(self) -> httpx.AsyncClient:
        """Build the client in a worker thread: reading certificates takes time."""
        try:
            if self._transport is None:
                self._route = find_route(str(self._url), os.environ)
                self._transport = open_transport(
                    self._route, max_connections=self.concurrency, tls=self._tls
                )
        except EgressError as fault:
            raise SinkUnavailable(fault.message, fault.fix, needs_change=True) from None
        return httpx.AsyncClient(
            transport=self._transport,
            timeout=None,  # noqa: S113  (one deadline for the whole answer, see _attempt)
            follow_redirects=False,
            trust_env=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        )


@asynccontextmanager
async def _answer(
    transport: httpx.AsyncBaseTransport, request: httpx.Request
) -> AsyncGenerator[httpx.Response, None]:
    """Send a request, not by the client: that would log the URL, which is a secret."""
    response = await transport.handle_async_request(request)
    try:
        yield response
    finally:
        await response.aclose()


async def _beginning(response: httpx.Response) -> bytes:
    """Return the beginning of the body, or as much of it as arrives in time.

    A short body is read to its end, so that the connection can be used again.
    """
    body = b""
    body_deadline = anyio.current_time() + _BODY_TIMEOUT
    last_moment = anyio.current_effective_deadline() - _CLOSING
    try:
        with anyio.CancelScope(deadline=min(body_deadline, last_moment)):
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) >= _BODY_BYTES:
                    break
    except (httpx.TransportError, httpx.StreamError):  # the body was cut off: the status counts
        pass
    return body[:_BODY_BYTES]


def _base_headers(body_format: BodyFormat, extra: Mapping[str, SecretStr]) -> dict[str, str]:
    headers = {
        "accept-encoding": "identity",
        "content-type": body_format.content_type,
        "user-agent": f"comms-poller/{__version__}",
    }
    for name, value in extra.items():
        check_header(name, value.get_secret_value())
        headers[name.lower()] = value.get_secret_value()
    return headers


def _checked_concurrency(concurrency: int) -> int:
    if not 1 <= concurrency <= _MOST_CONNECTIONS:
        raise ValueError(f"concurrency must be 1 to {_MOST_CONNECTIONS}, not {concurrency}")
    return concurrency


def _texts_to_hide(
    url: httpx.URL, secret: SecretStr | None, headers: Mapping[str, SecretStr]
) -> frozenset[str]:
    """Return every secret text that the receiver could echo from a request."""
    parts = secret.get_secret_value().split() if secret else []
    values = [value.get_secret_value() for value in headers.values()]
    return frozenset(
        [part.removeprefix("whsec_") for part in parts]
        + [word for value in values for word in (value, *value.split())]
        + [segment for segment in url.path.split("/") if len(segment) >= _TOKEN_LENGTH]
        + list(url.params.values())
    )
