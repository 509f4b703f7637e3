"""One question to a daemon with a bare socket: what a health check costs, it costs all day.

HTTP/1.0, so that the answer comes in one piece and ends with the connection.
"""

import json
import socket
import time
from typing import Any, Final

from poller.cli.control.address import Address
from poller.cli.control.errors import NoDaemon, Unreachable
from poller.http.failures import (
    WANTS_HTTPS,
    describe_answer,
    describe_failure,
    describe_timeout,
)

__all__ = ["ask"]

_LARGEST: Final = 1024 * 1024
_CHUNK: Final = 65_536
_TLS_ALERT: Final = b"\x15\x03"


def ask(address: Address, path: str, *, timeout: float) -> tuple[int, dict[str, Any]]:
    """GET a path; returns status and document. All of it takes at most `timeout` seconds.

    :raises Unreachable: where nobody answers in time.
    :raises NoDaemon: where what answers speaks otherwise.
    """
    deadline = time.monotonic() + timeout
    request = (
        f"GET {address.prefix}{path} HTTP/1.0\r\nHost: {address.authority}\r\n"
        "Accept: application/json\r\n\r\n"
    )
    try:
        with _connect(address, timeout) as connection:
            connection.sendall(request.encode("ascii"))
            answer = _read(connection, deadline)
    except TimeoutError:
        failure = describe_timeout(address.route, timeout)
        raise Unreachable(str(address), failure.happened) from None
    except OSError as error:
        failure = describe_failure(error, address.route)
        raise Unreachable(str(address), failure.happened, failure.hint) from None
    return _parsed(address, answer)


def _connect(address: Address, timeout: float) -> socket.socket:
    if address.socket is None:
        connection = socket.create_connection((address.host, address.port), timeout)
        return connection if address.scheme == "http" else _encrypted(connection, address.host)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        connection.connect(address.socket)
    except BaseException:
        connection.close()
        raise
    return connection


def _encrypted(connection: socket.socket, host: str) -> socket.socket:
    import ssl  # noqa: PLC0415 - slow, and rarely needed

    return ssl.create_default_context().wrap_socket(connection, server_hostname=host)


def _read(connection: socket.socket, deadline: float) -> bytes:
    answer = bytearray()
    while len(answer) < _LARGEST:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        chunk = connection.recv(_CHUNK)
        if not chunk:
            break
        answer += chunk
    return bytes(answer)


def _parsed(address: Address, answer: bytes) -> tuple[int, dict[str, Any]]:
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(b"\r\n", 1)[0].split()
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():  # noqa: PLR2004 - version, status
        if address.scheme == "http" and answer.startswith(_TLS_ALERT):
            raise Unreachable(str(address), f"{address.route.target} expects TLS", WANTS_HTTPS)
        raise NoDaemon(str(address), "it does not speak HTTP")
    status = int(words[1])
    failure = describe_answer(status, body, address.route)
    if failure is not None:
        raise Unreachable(str(address), failure.happened, failure.hint)
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise NoDaemon(str(address), f"it answered {status} without JSON")
    return status, document
