"""The process that imports and runs the poller once, and forks for every command; see `forked`."""

import array
import atexit
import gc
import importlib
import io
import json
import os
import pkgutil
import select
import signal
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

_MESSAGE = 200_000
# libraries import these at their first use, which would be in every child
_AT_FIRST_USE = (
    "alembic.command",
    "anyio._backends._asyncio",
    "anyio._core._sockets",
    "anyio.streams.tls",
    "httpcore",
    "rich.live",
    "rich.table",
    "sqlalchemy.dialects.sqlite",
    "uvicorn.lifespan.off",
    "uvicorn.loops.auto",
    "uvicorn.protocols.http.auto",
)
# these look at their surroundings while they are imported
_LATE = ("poller.__main__", "poller.cli.app")


def main() -> None:
    """Fork for every request; returns in the child, whose standard descriptors are its own."""
    control = socket.socket(fileno=int(sys.argv[1]))
    _import_everything()
    request = _serve(control)
    _become(request)
    import runpy  # noqa: PLC0415 - beside its only use, in the child

    # like `python -m poller`: `__main__` is the command, and how it ends is how the process ends
    try:
        runpy.run_module("poller", run_name="__main__", alter_sys=True)
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

    for module in pkgutil.walk_packages(poller.__path__, "poller."):
        if module.name not in _LATE and not module.name.startswith("poller.store.migrations"):
            importlib.import_module(module.name)
    for name in _AT_FIRST_USE:
        importlib.import_module(name)
    _run_once()
    gc.collect()
    gc.freeze()


def _run_once() -> None:
    """Watch an operation to its end, so that every child finds the statements compiled."""
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
    # a fork takes over no thread
    assert threading.active_count() == 1, threading.enumerate()


def _serve(control: socket.socket) -> dict[str, Any]:
    """Fork for every request and report how each child ended; returns in the child."""
    ends: dict[int, socket.socket] = {}
    wake, woken = os.pipe()
    for descriptor in (wake, woken):
        os.set_blocking(descriptor, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken)
    while True:
        ready, _, _ = select.select([control.fileno(), wake], [], [])
        if wake in ready:
            os.read(wake, 4096)
            _reap(ends)
        if control.fileno() not in ready:
            continue
        size = array.array("i").itemsize * 4
        message, ancillary, _, _ = control.recvmsg(_MESSAGE, socket.CMSG_SPACE(size))
        if not message:
            _end(ends)
        descriptors = array.array("i")
        descriptors.frombytes(ancillary[0][2])
        end = socket.socket(fileno=descriptors.pop())
        pid = os.fork()
        if pid == 0:
            return {**json.loads(message), "descriptors": list(descriptors)}
        for descriptor in descriptors:
            os.close(descriptor)
        ends[pid] = end
        end.send(str(pid).encode())


def _reap(ends: dict[int, socket.socket]) -> None:
    while ends:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with ends.pop(pid) as end:
            try:
                end.send(str(os.waitstatus_to_exitcode(status)).encode())
            except OSError:  # nobody asks for it any more
                continue


def _end(ends: dict[int, socket.socket]) -> NoReturn:
    """End with the tests, and with everything that they left."""
    for pid in ends:
        os.kill(pid, signal.SIGKILL)
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
    sys.argv = ["poller", *request["arguments"]]
    sys.orig_argv = [sys.executable, "-m", "poller", *request["arguments"]]
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
