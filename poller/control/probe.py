"""One GET to a daemon, for a health check.

Health checks run every few seconds in each container, so this takes the standard library's client:
importing the client that the other commands use would cost several times as much.
"""

import json
import socket
import time
from contextlib import suppress
from http.client import BadStatusLine, HTTPConnection, HTTPException
from threading import Timer
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
_TLS_ALERT: Final = "\x15\x03"


def ask(address: Address, path: str, *, timeout: float) -> tuple[int, dict[str, Any]]:
    """GET a path; returns status and document. All of it takes at most `timeout` seconds.

    :raises Unreachable: where nobody answers in time.
    :raises NoDaemon: where what answers is not a poller.
    """
    try:
        status, body = _get(address, path, timeout)
    except TimeoutError:
        raise _unreachable(address, describe_timeout(address.route, timeout)) from None
    except HTTPException as error:
        if address.scheme == "http" and _is_tls(error):
            happened = f"{address.route.target} expects TLS"
            raise Unreachable(str(address), happened, WANTS_HTTPS) from None
        raise NoDaemon(str(address), "it does not speak HTTP") from None
    except OSError as error:
        raise _unreachable(address, describe_failure(error, address.route)) from None
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


def _get(address: Address, path: str, timeout: float) -> tuple[int, bytes]:
    """Return status and body.

    :raises TimeoutError: where they are not complete within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    connection = HTTPConnection(address.host, address.port)
    connection.sock = _connect(address, timeout)
    # the timeout of a socket begins again with every byte, this one does not
    timer = Timer(max(0.0, deadline - time.monotonic()), _shut_down, [connection.sock])
    timer.start()
    try:
        headers = {"Host": address.authority, "Accept": "application/json", "Connection": "close"}
        connection.request("GET", f"{address.prefix}{path}", headers=headers)
        with connection.getresponse() as response:
            status, body = response.status, response.read(_LARGEST)
    except (HTTPException, OSError):
        if time.monotonic() >= deadline:
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()
        connection.close()
    if time.monotonic() >= deadline:
        raise TimeoutError
    return status, body


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


def _shut_down(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _is_tls(error: HTTPException) -> bool:
    """Return whether what should be a status line is an alert of TLS."""
    return isinstance(error, BadStatusLine) and str(error).startswith(_TLS_ALERT)


def _unreachable(address: Address, failure: Failure) -> Unreachable:
    return Unreachable(str(address), failure.happened, failure.hint)
