"""The scripted API, able to answer in ways that no HTTP library would let it."""

import socket
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any, Final

from tests.fakes.api import FakeApi, Reply

__all__ = ["Raw", "WildApi", "drip", "endless", "reset"]

_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw(Reply):
    """An answer that writes itself; the connection ends with it."""

    send: Callable[[BaseHTTPRequestHandler], None]


class WildApi(FakeApi):
    """A FakeApi that also gives `Raw` answers, speaks TLS with `tls`, with any `Date`.

    An answer that brings its own `date` gets no other one. `lists` replaces what lists answer.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self.lists: Reply | None = None
        self._tls = tls is not None
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)

    @property
    def base_url(self) -> str:
        """The base URL, version included."""
        url = super().base_url
        return url.replace("http:", "https:") if self._tls else url

    def _list(self) -> Reply:
        return self.lists or super()._list()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        usual: Any = super()._handler()

        class Handler(usual):  # type: ignore[misc]  # the class is made at run time
            def _answer(self, reply: Reply) -> None:
                if isinstance(reply, Raw):
                    self.close_connection = True
                    reply.send(self)
                    return
                self.dated = "date" in reply.headers
                super()._answer(reply)

            def send_header(self, keyword: str, value: str) -> None:
                if keyword == "Date" and self.dated:
                    return
                super().send_header(keyword, value)

        found: type[BaseHTTPRequestHandler] = Handler
        return found


def endless(handler: BaseHTTPRequestHandler) -> None:
    """Send JSON that never ends, as fast as it is taken."""
    handler.wfile.write(_HEAD + b'\r\n{"id": "')
    while True:
        handler.wfile.write(b"a" * 65_536)


def drip(handler: BaseHTTPRequestHandler) -> None:
    """Send a byte a second, until the other side hangs up."""
    body = b'{"id": "' + b"a" * 1000
    handler.wfile.write(_HEAD + b"Content-Length: 100000\r\n\r\n")
    handler.connection.settimeout(1.0)
    for byte in body:
        handler.wfile.write(bytes([byte]))
        try:
            if handler.connection.recv(1) == b"":
                return
        except TimeoutError:
            continue


def reset(handler: BaseHTTPRequestHandler) -> None:
    """Reset the connection in place of an answer."""
    linger = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    for end in (handler.rfile, handler.wfile, handler.connection):  # the last one sends the RST
        end.close()
