"""The real command line in a process of its own, as a user runs it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["Poller", "eventually", "poller"]

_PATIENCE = 30.0
# the tree that these tests stand in, whatever is installed
_TREE = str(Path(__file__).resolve().parents[2])


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "PYTHONPATH": _TREE, "PYTHONUNBUFFERED": "1", **environment}


def poller(
    *arguments: str,
    cwd: Path,
    environment: Mapping[str, str] | None = None,
    stdin: str | None = None,
    stdout: int = subprocess.PIPE,
    timeout: float = _PATIENCE,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; a descriptor given as `stdout` is closed then."""
    try:
        return subprocess.run(
            [sys.executable, "-m", "poller", *arguments],
            cwd=cwd,
            env=_environment(environment or {}),
            input=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            timeout=timeout,
            check=False,
        )
    finally:
        if stdout >= 0:
            os.close(stdout)


def eventually(condition: Callable[[], bool], *, timeout: float = _PATIENCE) -> None:
    """Wait until `condition` holds; what it waits for happens in another process."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


class Poller:
    """A running daemon; a context manager that kills it at the end.

    `program` is what the interpreter is told to run, where it is more than the command.
    """

    def __init__(
        self,
        *arguments: str,
        cwd: Path,
        environment: Mapping[str, str],
        stdin: bool = False,
        program: Sequence[str] = ("-m", "poller"),
    ) -> None:
        self._arguments: Sequence[str] = (sys.executable, *program, *arguments)
        self._cwd = cwd
        self._environment = _environment(environment)
        self._stdin = subprocess.PIPE if stdin else subprocess.DEVNULL
        self.out: list[str] = []
        self.err: list[str] = []

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            self._arguments,
            cwd=self._cwd,
            env=self._environment,
            stdin=self._stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._readers = [
            threading.Thread(target=self._read, args=pair, daemon=True)
            for pair in ((self.process.stdout, self.out), (self.process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
        if self.process.stdin is not None and not self.process.stdin.closed:
            self.process.stdin.close()

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events on standard output so far."""
        return [json.loads(line) for line in list(self.out)]

    @property
    def logs(self) -> list[dict[str, Any]]:
        """The log lines so far."""
        return [json.loads(line) for line in list(self.err) if line.startswith("{")]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Return the log lines of one event so far."""
        return [line for line in self.logs if line["event"] == event]

    def say(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def end_input(self) -> None:
        """Close its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self, timeout: float = _PATIENCE) -> int:
        """Wait for its end; returns the exit code."""
        code = self.process.wait(timeout)
        for reader in self._readers:
            reader.join()
        return code

    def stop(self, timeout: float = _PATIENCE) -> int:
        """Send SIGTERM and wait."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self) -> None:
        """Send SIGKILL and wait; nothing where it has ended."""
        self.process.kill()
        self.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    @staticmethod
    def _read(stream: Any, lines: list[str]) -> None:  # noqa: ANN401 - a text pipe
        # one by one: a test looks while the process runs
        for line in stream:
            lines.append(line)  # noqa: PERF402 - as above
