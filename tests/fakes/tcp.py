"""A bad line on loopback: a TCP proxy that spoils answers, the same way for the same seed.

It stands before a server and passes requests on whole and at once, or not at all, so that what
the server counts is what the client did. Answers are what suffers, each piece of one by itself:

    with TcpProxy(api.base_url, weather=Weather(seed=7, rate=0.2)) as line:
        ...  # talk to line.url
"""

import random
import select
import socket
import struct
import threading
from collections import Counter, deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit, urlunsplit

__all__ = ["Fault", "TcpAcceptor", "TcpProxy", "Weather"]

_CHUNK: Final = 1 << 16
_TICK: Final = 0.05
_PATIENCE: Final = 10.0


class Fault(StrEnum):
    """What becomes of a piece of an answer, or, for `REFUSE`, of a connection."""

    REFUSE = "refuse"
    """The connection is reset as soon as it is there."""
    CUT = "cut"
    """A part of it, then the end of the stream."""
    RESET = "reset"
    """A part of it, then a reset."""
    STALL = "stall"
    """A part of it, then nothing for a long time, then the end of the stream."""
    DELAY = "delay"
    """All of it, late."""
    GARBLE = "garble"
    """All of it, one bit turned; never one that makes another valid document in ASCII."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How bad a line is: the share of connections, and of pieces, that meet one of `faults`.

    `delay` is the most and `stall` the exact number of seconds that those two take.
    """

    seed: int = 0
    rate: float = 0.0
    faults: tuple[Fault, ...] = tuple(Fault)
    delay: float = 0.2
    stall: float = 3.0


class TcpAcceptor:
    """Accepts TCP connections on loopback from entering to leaving; a context manager.

    A subclass says in `_accept` what becomes of them, until `_closing` is set.
    """

    def __init__(self) -> None:
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._listener.settimeout(_TICK)

    @property
    def port(self) -> int:
        """The port on 127.0.0.1."""
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _start(self, work: object, *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)  # type: ignore[arg-type]  # any callable
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        raise NotImplementedError


class TcpProxy(TcpAcceptor):
    """Stands before the server of `url`; a context manager, with a thread for each connection.

    `script` is what the first pieces meet, at their first byte, before the weather decides; a
    `REFUSE` in it waits for a connection.
    """

    def __init__(
        self, url: str, *, weather: Weather | None = None, script: Iterable[Fault | None] = ()
    ) -> None:
        super().__init__()
        parts = urlsplit(url)
        self.weather = weather or Weather()
        self.met: Counter[Fault] = Counter()
        self._target = (parts.hostname or "", parts.port or 80)
        self._script = deque(script)
        self._guard = threading.Lock()
        self.url = urlunsplit(parts._replace(netloc=f"127.0.0.1:{self.port}"))

    def _accept(self) -> None:
        number = 0
        while not self._closing.is_set():
            with suppress(TimeoutError):
                client, _ = self._listener.accept()
                number += 1
                # one for each connection: what threads do in between changes nothing
                chance = random.Random(f"{self.weather.seed}:{number}")  # noqa: S311 - has to repeat, not to be secret
                self._start(self._carry, client, chance)

    def _carry(self, client: socket.socket, chance: random.Random) -> None:
        with client, suppress(OSError):
            if self._refuses(chance):
                _reset(client)
                return
            with socket.create_connection(self._target, timeout=_PATIENCE) as server:
                client.settimeout(_PATIENCE)
                while not self._closing.is_set():
                    for end in select.select([client, server], [], [], _TICK)[0]:
                        data = end.recv(_CHUNK)
                        if not data:
                            return
                        if end is client:
                            server.sendall(data)
                        elif not self._pass_on(client, data, chance):
                            return

    def _pass_on(self, client: socket.socket, data: bytes, chance: random.Random) -> bool:
        """Send the answer on; False where that was the end of the connection."""
        fault, place = self._draw(chance, len(data))
        match fault:
            case Fault.GARBLE:
                data = data[:place] + bytes([data[place] ^ 0x80]) + data[place + 1 :]
            case Fault.DELAY:
                self._closing.wait(chance.uniform(0, self.weather.delay))
            case Fault.CUT | Fault.RESET | Fault.STALL:
                client.sendall(data[:place])
                if fault is Fault.STALL:
                    self._closing.wait(self.weather.stall)
                if fault is Fault.RESET:
                    _reset(client)
                return False
            case _:
                pass
        client.sendall(data)
        return True

    def _refuses(self, chance: random.Random) -> bool:
        with self._guard:
            if scripted := bool(self._script) and self._script[0] is Fault.REFUSE:
                self._script.popleft()
            refused = scripted or (
                Fault.REFUSE in self.weather.faults and chance.random() < self.weather.rate
            )
            self.met[Fault.REFUSE] += refused
        return refused

    def _draw(self, chance: random.Random, length: int) -> tuple[Fault | None, int]:
        """Choose what an answer meets, and at which of its bytes."""
        faults = [fault for fault in self.weather.faults if fault is not Fault.REFUSE]
        with self._guard:
            if self._script:
                fault, place = self._script.popleft(), 0
            elif faults and chance.random() < self.weather.rate:
                fault, place = chance.choice(faults), chance.randrange(length)
            else:
                return None, 0
            if fault is not None:
                self.met[fault] += 1
        return fault, place


def _reset(client: socket.socket) -> None:
    """Close so that the other side hears a RST."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
