"""A webhook receiver on a real socket, which answers from a script and checks signatures.

It lives in threads of its own, so that async tests and tests of whole processes can use it:

    with Receiver(secret="whsec_…") as receiver:
        receiver.answer_next(Answer(status=503, headers={"retry-after": "2"}), Answer(reset=True))
        ...  # post to receiver.url
        assert [r.event["type"] for r in receiver.wait_for(3)] == [...]
"""

import contextlib
import json
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from standardwebhooks import Webhook, WebhookVerificationError

__all__ = ["Answer", "Received", "Receiver"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What to answer one request.

    `delay` seconds pass before the status; `drip` seconds before each byte of the body; `reset`
    cuts the connection with a RST instead of an answer; `truncate` cuts it before the body is
    complete; `raw` replaces everything that is sent.
    """

    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay: float = 0.0
    drip: float = 0.0
    reset: bool = False
    truncate: bool = False
    raw: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request as it came in: `at` is monotonic; header names are in lower case.

    `signature` is "good", "missing", or what is wrong with it; None where no secret is set.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float
    connection: int
    signature: str | None
    answer: Answer

    @property
    def event(self) -> dict[str, Any]:
        """The body as JSON."""
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def accepted(self) -> bool:
        """Whether it was answered with a 2xx."""
        return not self.answer.reset and 200 <= self.answer.status < 300


class Receiver:
    """A receiver that records every request and answers from its script, then the default.

    `default` is an Answer, or a function of the request's number (from 0) that makes one. `port`
    0 takes a free one; give a former `receiver.port` to come back after an outage.
    """

    def __init__(
        self,
        *,
        secret: str | None = None,
        script: Iterable[Answer] = (),
        default: Answer | Callable[[int], Answer] | None = None,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._webhook = Webhook(secret) if secret else None
        self._script = deque(script)
        self._default = default or Answer()
        self._received: list[Received] = []
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._scheme = "https" if tls else "http"
        self._server = _Server(("127.0.0.1", port), _handler(self))
        if tls:
            self._server.tls = tls
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop listening and cut what is open. Idempotent."""
        if not self._closing.is_set():
            self._closing.set()
            self._server.shutdown()
            self._server.cut_connections()
            self._server.server_close()
            self._thread.join()

    @property
    def port(self) -> int:
        """The port on 127.0.0.1."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Where to post."""
        return f"{self._scheme}://127.0.0.1:{self.port}/hook"

    @property
    def received(self) -> list[Received]:
        """Every request so far, in the order of arrival."""
        with self._changed:
            return list(self._received)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of all accepted requests, repetitions included."""
        return [request.event for request in self.received if request.accepted]

    def answer_next(self, *answers: Answer) -> None:
        """Add answers to the end of the script."""
        with self._changed:
            self._script.extend(answers)

    def answer_always(self, default: Answer | Callable[[int], Answer]) -> None:
        """Answer like this once the script has ended."""
        with self._changed:
            self._default = default

    def wait_for(self, count: int, *, timeout: float = 20.0) -> list[Received]:
        """Return the requests once there are `count`.

        :raises AssertionError: if there are fewer after `timeout` seconds.
        """
        return self.wait_until(lambda received: len(received) >= count, timeout=timeout)

    def wait_until(
        self, enough: Callable[[list[Received]], bool], *, timeout: float = 20.0
    ) -> list[Received]:
        """Return the requests once `enough` says so.

        :raises AssertionError: if it does not within `timeout` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: enough(self._received), timeout):
                raise AssertionError(f"not enough after {timeout} s: {len(self._received)} came")
            return list(self._received)

    def _take(self, handler: "_Handler", body: bytes) -> Answer:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        with self._changed:
            answer = self._next_answer()
            self._received.append(
                Received(
                    method=handler.command,
                    path=handler.path,
                    headers=headers,
                    body=body,
                    at=time.monotonic(),
                    connection=handler.client_address[1],
                    signature=self._judge(headers, body),
                    answer=answer,
                )
            )
            self._changed.notify_all()
        return answer

    def _next_answer(self) -> Answer:
        if self._script:
            return self._script.popleft()
        default = self._default
        return default if isinstance(default, Answer) else default(len(self._received))

    def _judge(self, headers: dict[str, str], body: bytes) -> str | None:
        if self._webhook is None:
            return None
        if "webhook-signature" not in headers:
            return "missing"
        try:
            self._webhook.verify(body, headers, json_parse=False)
        except WebhookVerificationError as error:
            return str(error)
        return "good"


class _Server(ThreadingHTTPServer):
    """Threads that end with the test, and connections that can be cut."""

    daemon_threads = True
    block_on_close = True
    request_queue_size = 256
    tls: ssl.SSLContext | None = None

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  (socketserver's own signature)
        """Handle a connection; TLS begins here, so that a bad handshake holds up nobody."""
        connection = request
        try:
            if self.tls is not None:
                connection = self.tls.wrap_socket(request, server_side=True)
            with self._guard:
                self._open.add(connection)
            super().process_request_thread(connection, client_address)
        except OSError:
            request.close()
        finally:
            connection.close()
            with self._guard:
                self._open.discard(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  (as above)
        """Say nothing: a client that goes away is what the test is about."""

    def cut_connections(self) -> None:
        """Wake every thread that reads from an open connection."""
        with self._guard:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    receiver: Receiver

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (http.server's own name)
        """Keep quiet."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        answer = self.receiver._take(self, body)
        if answer.delay:
            self.receiver._closing.wait(answer.delay)
        if answer.reset:
            self._reset()
        elif answer.raw is not None:
            self.wfile.write(answer.raw)
            self.close_connection = True
        else:
            self._answer(answer)

    do_GET = do_POST  # noqa: N815  (http.server's own name)

    def _answer(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status not in {204, 304}:
            self.send_header("content-length", str(len(answer.body) + answer.truncate))
        self.end_headers()
        if not answer.drip:
            self.wfile.write(answer.body)
        else:
            for byte in answer.body:
                if self.receiver._closing.wait(answer.drip):
                    break
                self.wfile.write(bytes([byte]))
        if answer.truncate:
            self.close_connection = True

    def _reset(self) -> None:
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        for end in (self.rfile, self.wfile, self.connection):  # the last one to go sends the RST
            end.close()
        self.close_connection = True


def _handler(owner: Receiver) -> type[_Handler]:
    class Handler(_Handler):
        receiver = owner

    return Handler
