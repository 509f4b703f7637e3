"""Processes of the command line that need no start: each is a fork of one that has imported it all.

A process started this way has its own memory, descriptors, signals and exit code, as any other.
Where the start of the interpreter is what a test is about, start the command with `subprocess`.
"""

import array
import atexit
import contextlib
import errno
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

__all__ = ["Forked", "address", "install"]

_TREE = str(Path(__file__).resolve().parents[2])
_MESSAGE = 200_000


class Forked:
    """A running `poller`; the part of `subprocess.Popen` that tests use, on text pipes.

    `stdin` is `PIPE` or a descriptor (/dev/null unless given), `stdout` and `stderr` likewise, or
    `STDOUT` for the latter. `terminal` makes standard input the controlling terminal of a new
    session. `module` is what is run as `python -m` would. As a context manager it closes the pipes
    and waits.
    """

    def __init__(
        self,
        *arguments: str,
        cwd: Path,
        env: Mapping[str, str],
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
        terminal: bool = False,
        module: str = "poller",
    ) -> None:
        self.args = (module, *arguments)
        self.returncode: int | None = None
        self.stdin: IO[str] | None = None
        self.stdout: IO[str] | None = None
        self.stderr: IO[str] | None = None
        self._lock = threading.Lock()
        with contextlib.ExitStack() as stack:
            # each is closed here once the child has its own
            theirs = [self._input(stdin, stack)]
            theirs.append(self._output("stdout", stdout, stack))
            same = stderr == subprocess.STDOUT
            theirs.append(theirs[1] if same else self._output("stderr", stderr, stack))
            request = {
                "arguments": arguments,
                "cwd": str(cwd),
                "env": dict(env),
                "terminal": terminal,
                "module": module,
            }
            self.pid, self._end = _server().fork(request, theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self.wait()

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; returns the exit code, negative for a signal.

        :raises subprocess.TimeoutExpired: where it runs for longer.
        """
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal; nothing where it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL; nothing where it has ended."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, text: str | None = None, timeout: float | None = None) -> tuple[str, str]:
        """Write to its standard input, read the pipes to their ends, and wait.

        :raises subprocess.TimeoutExpired: where it takes longer.
        """
        read: dict[str, str] = {"stdout": "", "stderr": ""}
        deadline = None if timeout is None else time.monotonic() + timeout
        threads = [
            threading.Thread(target=self._drain, args=(name, read), daemon=True)
            for name in read
            if getattr(self, name) is not None
        ]
        for thread in threads:
            thread.start()
        if self.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.stdin.write(text or "")
                self.stdin.flush()
            with contextlib.suppress(BrokenPipeError):
                self.stdin.close()
        for thread in threads:
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        self.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        return read["stdout"], read["stderr"]

    def _drain(self, name: str, read: dict[str, str]) -> None:
        with getattr(self, name) as pipe:
            read[name] = pipe.read()

    def _input(self, wanted: int, stack: contextlib.ExitStack) -> int:
        if wanted == subprocess.PIPE:
            reader, writer = os.pipe()
            stack.callback(os.close, reader)
            self.stdin = os.fdopen(writer, "w", encoding="utf-8")
            return reader
        return _null(stack) if wanted == subprocess.DEVNULL else wanted

    def _output(self, name: str, wanted: int, stack: contextlib.ExitStack) -> int:
        if wanted == subprocess.PIPE:
            reader, writer = os.pipe()
            stack.callback(os.close, writer)
            setattr(self, name, os.fdopen(reader, encoding="utf-8"))
            return writer
        return _null(stack) if wanted == subprocess.DEVNULL else wanted

    def _look(self, timeout: float | None) -> int | None:
        """Wait until the server reports how it ended."""
        with self._lock:
            if self.returncode is None and select.select([self._end], [], [], timeout)[0]:
                self.returncode = int(self._end.recv(16) or b"-9")
                self._end.close()
            return self.returncode


def _null(stack: contextlib.ExitStack) -> int:
    descriptor = os.open(os.devnull, os.O_RDWR)
    stack.callback(os.close, descriptor)
    return descriptor


class _Server:
    """A connection to the process that forks, which all workers of a run share.

    The process ends with its last connection, and what it forked for a connection ends with that.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        while True:
            self._control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._start()
            # a server that ends does not greet
            with contextlib.suppress(ConnectionError):
                self._control.connect(address())
                if self._control.recv(16):
                    break
            self._control.close()
        atexit.register(self._close)

    def fork(
        self, request: Mapping[str, object], descriptors: Sequence[int]
    ) -> tuple[int, socket.socket]:
        """Start a command; returns its process id and where the server says how it ended."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        message = json.dumps(request).encode()
        assert len(message) < _MESSAGE
        passed = array.array("i", [*descriptors, theirs.fileno()])
        with theirs, self._lock:
            self._control.sendmsg(
                [message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed.tobytes())]
            )
        pid = ours.recv(16)
        assert pid, "the server that forks has ended"
        return int(pid), ours

    def _start(self) -> None:
        """Start the process, unless one listens at the address: who binds it starts it."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            try:
                listener.bind(address())
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                return
            listener.listen(64)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fakes.forking", str(listener.fileno())],
                cwd=_TREE,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": _TREE},
                stdin=subprocess.DEVNULL,
                pass_fds=[listener.fileno()],
                # an interrupt from the keyboard ends us, and our end ends it
                start_new_session=True,
            )

    def _close(self) -> None:
        self._control.close()
        if self._process is not None:
            self._process.wait()


def address() -> str:
    """Return the abstract address of the server of this run of the tests."""
    return f"\0comms-poller-tests-{os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}"


def install(directory: Path) -> None:
    """Put a `poller` into a directory, for shells: it is forked as all others."""
    _server()
    program = Path(__file__).with_name("forked_command.py")
    command = directory / "poller"
    command.write_text(
        f'#!/bin/sh\nexec {sys.executable} -IS {program} {address()[1:]} "$@"\n', encoding="utf-8"
    )
    command.chmod(0o755)


@functools.cache
def _server() -> _Server:
    return _Server()
