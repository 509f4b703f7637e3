"""A line to a database on loopback that can fall silent, which no server and no kernel reports.

It accepts and acknowledges what is sent all the while: only who waits for an answer with a
deadline of its own finds out.
"""

import select
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.fakes.tcp import TcpAcceptor

__all__ = ["Line"]

_CHUNK: Final = 1 << 16
_TICK: Final = 0.02


class Line(TcpAcceptor):
    """Carries TCP connections to a unix socket or a port; a context manager.

    `silence` lets the connections that are there fall silent for good, and new ones work; with
    `everything`, new ones are accepted and silent as well until `restore`. `cut` ends them all.
    """

    def __init__(self, target: Path | int) -> None:
        super().__init__()
        self.target = target
        self.opened = 0
        self._epoch = 0
        self._is_black_hole = False

    def silence(self, *, everything: bool = False) -> None:
        """Carry nothing any more on what is connected; with `everything`, on nothing."""
        self._epoch += 1
        self._is_black_hole = everything

    def restore(self) -> None:
        """Carry new connections again; those that fell silent stay so."""
        self._epoch += 1
        self._is_black_hole = False

    def _accept(self) -> None:
        while not self._closing.is_set():
            with suppress(TimeoutError):
                client, _ = self._listener.accept()
                self.opened += 1
                self._start(self._carry, client, self._epoch, self._is_black_hole)

    def _carry(self, client: socket.socket, epoch: int, is_silent: bool) -> None:  # noqa: FBT001 - a thread's
        with client, suppress(OSError), self._server() as server:
            while not self._closing.is_set():
                for end in select.select([client, server], [], [], _TICK)[0]:
                    data = end.recv(_CHUNK)
                    if not data:
                        return
                    if not is_silent and epoch == self._epoch:
                        (server if end is client else client).sendall(data)

    def _server(self) -> socket.socket:
        if isinstance(self.target, int):
            return socket.create_connection(("127.0.0.1", self.target), timeout=5)
        server = socket.socket(socket.AF_UNIX)
        server.connect(str(self.target))
        return server
