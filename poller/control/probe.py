"""One GET request to a daemon, for a health check.

Health checks run every few seconds in each container, so this uses a plain socket: importing
`http.client` costs as much as all other imports of a check, and `httpx` several times that.
"""

import json
import re
import socket
import time
from typing import Any, Final

from poller.control.address import Address
from poller.control.errors import NoDaemon, Unreachable
from poller.http.failures import (
    WANTS_HTTPS,
    Failure,
    describe_answer,
    describe_failure,
    describe_timeout,
)

_LARGEST: Final = 1024 * 1024
_CHUNK: Final = 65_536
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})[ \r\n]")
_END_OF_HEAD: Final = re.compile(rb"\r?\n\r?\n")
_LENGTH: Final = re.compile(rb"\ncontent-length:[ \t]*([0-9]{1,9})[ \t]*\r?\n", re.IGNORECASE)
_TLS_ALERT: Final = b"\x15\x03"


def ask(address: Address, path: str, *, timeout: float) -> tuple[int, dict[str, Any]]:
    """GET a path; returns status and document, within `timeout` seconds in total.

    :raises Unreachable: where nothing answers in time.
    :raises NoDaemon: where another program answers.
    """
    try:
        answer = _get(address, path, timeout)
    except TimeoutError:
        raise _unreachable(address, describe_timeout(address.route, timeout)) from None
    except OSError as error:
        raise _unreachable(address, describe_failure(error, address.route)) from None
    if address.scheme == "http" and answer.startswith(_TLS_ALERT):
        happened = f"{address.route.target} expects TLS"
        raise Unreachable(str(address), happened, WANTS_HTTPS)
    status, body = _parse(address, answer)
    failure = describe_answer(status, body, address.route)
    if failure is not None:
        raise _unreachable(address, failure)
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise NoDaemon(str(address), f"it answered {status} without JSON")
    return status, document


def _get(address: Address, path: str, timeout: float) -> bytes:
    """Return the answer: up to the end of its body, of the connection, or of the size limit.

    The request uses HTTP/1.0, so the answer is never chunked and the connection closes after it.

    :raises TimeoutError: where it is not complete within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    request = (
        f"GET {address.prefix}{path} HTTP/1.0\r\nHost: {address.authority}\r\n"
        "Accept: application/json\r\n\r\n"
    )
    with _connect(address, deadline) as connection:
        connection.sendall(request.encode())
        answer = b""
        while len(answer) < _LARGEST and not _is_complete(answer):
            # one deadline for the whole answer: a socket's timeout restarts with every read
            connection.settimeout(_left(deadline))
            chunk = connection.recv(_CHUNK)
            if not chunk:
                break
            answer += chunk
    return answer


def _is_complete(answer: bytes) -> bool:
    if (end := _END_OF_HEAD.search(answer)) is None:
        return False
    length = _LENGTH.search(answer, 0, end.end())
    return length is not None and len(answer) - end.end() >= int(length[1])


def _parse(address: Address, answer: bytes) -> tuple[int, bytes]:
    status, end = _STATUS.match(answer), _END_OF_HEAD.search(answer)
    if status is None or end is None:
        raise NoDaemon(str(address), "it does not speak HTTP")
    return int(status[1]), answer[end.end() :]


def _left(deadline: float) -> float:
    """Return the seconds until the deadline.

    :raises TimeoutError: where it has passed.
    """
    if (left := deadline - time.monotonic()) <= 0:
        raise TimeoutError
    return left


def _connect(address: Address, deadline: float) -> socket.socket:
    if address.socket is None:
        connection = socket.create_connection((address.host, address.port), _left(deadline))
        return connection if address.scheme == "http" else _encrypted(connection, address, deadline)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(_left(deadline))
        connection.connect(address.socket)
    except BaseException:
        connection.close()
        raise
    return connection


def _encrypted(connection: socket.socket, address: Address, deadline: float) -> socket.socket:
    import ssl  # noqa: PLC0415 - slow, and rarely needed

    try:
        connection.settimeout(_left(deadline))
        context = ssl.create_default_context()
        return context.wrap_socket(connection, server_hostname=address.host)
    except BaseException:
        connection.close()
        raise


def _unreachable(address: Address, failure: Failure) -> Unreachable:
    return Unreachable(str(address), failure.happened, failure.hint)
