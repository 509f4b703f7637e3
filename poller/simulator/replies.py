"""The way back to a client: answers of the gate's own, and answers broken on the way."""

import json
import socket
import struct
from asyncio import Transport
from typing import Any, Final

from starlette.types import Message, Receive, Scope, Send

from poller.simulator.envelope import SimulatedProblem, envelope
from poller.simulator.faults import SimulatedFault

__all__ = ["Broken", "Discarded", "Reply", "reset"]

_OPERATION_HEADERS: Final = frozenset((b"operationid", b"operation-id", b"operation-location"))


class Reply:
    """The way back to the client; remembers how the request ended.

    Every answer says how many requests of the account are in flight, as the vendor's do.
    """

    def __init__(self, send: Send, in_flight: str) -> None:
        self.name = "aborted"
        self._send = send
        self._in_flight = in_flight.encode()

    async def send(self, message: Message) -> None:
        """Pass on one part of an answer."""
        if message["type"] == "http.response.start":
            self.name = str(message["status"])
            extra = (b"twilio-concurrent-requests", self._in_flight)
            message = {**message, "headers": [*message.get("headers", ()), extra]}
        await self._send(message)

    async def refuse(self, status: int, message: str, headers: dict[str, str]) -> None:
        """Answer with the error envelope."""
        body = json.dumps(envelope(status, SimulatedProblem(message))).encode()
        await self.answer(status, body, {"content-type": "application/json", **headers})

    async def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        """Answer."""
        sized = {**headers, "content-length": str(len(body))}
        raw = [(name.encode(), value.encode()) for name, value in sized.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": raw})
        await self.send({"type": "http.response.body", "body": body})


class Discarded:
    """Takes an answer that nobody will see."""

    async def send(self, message: Message) -> None:
        """Take one part."""


class Broken:
    """Holds an answer until it is whole, then sends it without its body or without half of it."""

    def __init__(self, fault: SimulatedFault, reply: Reply) -> None:
        self._fault = fault
        self._reply = reply
        self._start: dict[str, Any] = {}
        self._body = b""

    async def send(self, message: Message) -> None:
        """Take one part."""
        if message["type"] == "http.response.start":
            self._start = dict(message)
            return
        self._body += message.get("body", b"")
        if not message.get("more_body", False):
            await self._finish()

    async def _finish(self) -> None:
        empty = self._fault is SimulatedFault.EMPTY
        body = b"" if empty else self._body[: len(self._body) // 2]
        dropped = {b"content-length"} | (_OPERATION_HEADERS if empty else set())
        headers = [pair for pair in self._start["headers"] if pair[0].lower() not in dropped]
        headers.append((b"content-length", str(len(body)).encode()))
        await self._reply.send({**self._start, "headers": headers})
        self._reply.name = f"{self._start['status']} {self._fault.value}"
        await self._reply.send({"type": "http.response.body", "body": body})


async def reset(scope: Scope, receive: Receive) -> None:
    """Reset the connection, and wait until the server has noticed.

    :raises ConnectionResetError: where the server gives no hold on the connection.
    """
    transport: Transport | None = scope.get("state", {}).get("transport")
    if transport is None:
        raise ConnectionResetError("simulated")
    connection = transport.get_extra_info("socket")
    # Closing with no time to linger sends RST in place of FIN.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass
