"""The process that imports and runs the poller once, and forks for every command; see `forked`."""

import array
import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import pkgutil
import selectors
import signal
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

_MESSAGE = 200_000
# libraries import these at their first use, which would be in every child
_AT_FIRST_USE = (
    "alembic.command",
    "anyio._backends._asyncio",
    "anyio._core._signals",
    "anyio._core._sockets",
    "anyio.streams.tls",
    "httpcore",
    "psycopg",
    "rich.live",
    "rich.table",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite",
    "typer._adapters",
    "typer._click.decorators",
    "uvicorn.lifespan.off",
    "uvicorn.loops.auto",
    "uvicorn.protocols.http.auto",
)
# these look at their surroundings while they are imported
_LATE = ("poller.__main__", "poller.cli.app")


def main() -> None:
    """Fork for every request; returns in the child, whose standard descriptors are its own."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    _import_everything()
    request = _Server(listener).serve()
    _become(request)
    import runpy  # noqa: PLC0415 - beside its only use, in the child

    # like `python -m`: `__main__` is the command, and how it ends is how the process ends
    try:
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, int) and _finish():
            os._exit(end.code & 0xFF)
        raise


def _finish() -> bool:
    """Do at the end what the interpreter does, but for taking all modules apart, which is slow.

    Returns False where the standard output cannot be flushed: what follows is its to say.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return False
    return True


def _import_everything() -> None:
    import poller  # noqa: PLC0415 - this is where the time goes

    # what is imported stays: looking through it for garbage takes a sixth of the time
    gc.disable()
    for module in pkgutil.walk_packages(poller.__path__, "poller."):
        if module.name not in _LATE and not module.name.startswith("poller.store.migrations"):
            importlib.import_module(module.name)
    for name in _AT_FIRST_USE:
        with contextlib.suppress(ModuleNotFoundError):  # of the driver of PostgreSQL
            importlib.import_module(name)
    _run_once()
    gc.collect()
    gc.freeze()
    gc.enable()


def _run_once() -> None:
    """Watch an operation to its end, so that every child finds statements and models compiled."""
    import httpx  # noqa: PLC0415 - as above

    from poller.testing import CommsSimulator, PollerDaemon  # noqa: PLC0415 - as above
    from tests.fakes import statements  # noqa: PLC0415 - as above

    statements.share()
    with (
        tempfile.TemporaryDirectory() as directory,
        CommsSimulator(speed=1000) as simulator,
        PollerDaemon(
            simulator,
            Path(directory) / "poller.db",
            {"sinks": {"log": {"type": "file", "path": f"{directory}/events.ndjson"}}},
        ) as daemon,
    ):
        operation = simulator.send()
        daemon.watch(operation, breakdown=True)
        daemon.wait_delivered(operation)
        for path in (
            "healthz",
            "metrics",
            "v1/operations",
            "v1/sinks",
            f"v1/operations/{operation}",
        ):
            httpx.get(f"{daemon.url}/{path}", trust_env=False).raise_for_status()
    # a fork takes over no thread
    assert threading.active_count() == 1, threading.enumerate()


class _Server:
    """Forks for each request of its connections, and reports how each child ended."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        # the children of each connection, and where the end of each is reported
        self._children: dict[socket.socket, dict[int, socket.socket]] = {}

    def serve(self) -> dict[str, Any]:
        """Serve until the last connection is closed; returns in a child, with its request."""
        wake, woken = os.pipe()
        for descriptor in (wake, woken):
            os.set_blocking(descriptor, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(woken)
        self._selector.register(wake, selectors.EVENT_READ)
        self._selector.register(self._listener, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if key.fileobj == wake:
                    os.read(wake, 4096)
                    self._reap()
                elif key.fileobj == self._listener:
                    self._accept()
                elif (request := self._receive(key.fileobj)) is not None:
                    return request

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        with contextlib.suppress(OSError):  # it has gone: reading from it says so
            connection.send(b"ready")
        self._children[connection] = {}
        self._selector.register(connection, selectors.EVENT_READ)

    def _receive(self, connection: Any) -> dict[str, Any] | None:  # noqa: ANN401 - a socket, for the selector
        """Fork for a request; returns it in the child, None here."""
        size = array.array("i").itemsize * 4
        message, ancillary, _, _ = connection.recvmsg(_MESSAGE, socket.CMSG_SPACE(size))
        if not message:
            self._drop(connection)
            return None
        descriptors = array.array("i")
        descriptors.frombytes(ancillary[0][2])
        end = socket.socket(fileno=descriptors.pop())
        pid = os.fork()
        if pid == 0:
            self._close()
            return {**json.loads(message), "descriptors": list(descriptors)}
        for descriptor in descriptors:
            os.close(descriptor)
        self._children[connection][pid] = end
        end.send(str(pid).encode())
        return None

    def _close(self) -> None:
        """Close all in the child, so that no object closes a number that is used again by then."""
        self._selector.close()
        self._listener.close()
        for connection, ends in self._children.items():
            connection.close()
            for end in ends.values():
                end.close()

    def _reap(self) -> None:
        while any(self._children.values()):
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            for ends in self._children.values():
                if pid in ends:
                    # perhaps nobody asks for it any more
                    with ends.pop(pid) as end, contextlib.suppress(OSError):
                        end.send(str(os.waitstatus_to_exitcode(status)).encode())

    def _drop(self, connection: socket.socket) -> None:
        """End with the last connection; what was forked for one ends with it."""
        self._selector.unregister(connection)
        connection.close()
        for pid in self._children.pop(connection):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        if not self._children:
            sys.exit()


def _become(request: dict[str, Any]) -> None:
    """Take on what a new process would have been given."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, descriptor in enumerate(request["descriptors"]):
        os.dup2(descriptor, number)
    os.closerange(3, 1024)
    if request["terminal"]:
        import fcntl  # noqa: PLC0415 - for a terminal alone
        import termios  # noqa: PLC0415 - as above

        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    sys.argv = [request["module"], *request["arguments"]]
    sys.orig_argv = [sys.executable, "-m", *sys.argv]
    sys.stdin = open(0, encoding="utf-8")  # noqa: SIM115 - for good
    sys.stdout = _text(1, errors="strict")
    sys.stderr = _text(2, errors="backslashreplace")


def _text(descriptor: int, *, errors: str) -> io.TextIOWrapper:
    """Open a standard output as the interpreter does."""
    encoding = os.environ.get("PYTHONIOENCODING", "utf-8")
    raw = io.FileIO(descriptor, "w", closefd=False)
    if os.environ.get("PYTHONUNBUFFERED"):
        return io.TextIOWrapper(raw, encoding=encoding, errors=errors, write_through=True)
    lines = descriptor == 2 or raw.isatty()
    buffer = io.BufferedWriter(raw)
    return io.TextIOWrapper(buffer, encoding=encoding, errors=errors, line_buffering=lines)


if __name__ == "__main__":
    main()
