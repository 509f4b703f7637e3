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

from tests.fakes import defects
from tests.fakes.forked import Forked

__all__ = ["Poller", "command_environment", "eventually", "poller"]

_PATIENCE = 30.0
# the tree that these tests stand in, whatever is installed
_TREE = str(Path(__file__).resolve().parents[2])


def command_environment(
    arguments: Sequence[str], environment: Mapping[str, str], *, without_server: str = ""
) -> dict[str, str]:
    """Return the variables of a command.

    A daemon has its control API and metrics, as by default, but on any free port, since tests run
    many at once. A test that wants one without says why in `without_server`. Other commands know no
    daemon unless a test names one.
    """
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    is_daemon = "run" in arguments and not without_server
    listen = environment.get("POLLER_SERVER__LISTEN", "127.0.0.1:0" if is_daemon else "")
    assert listen or not is_daemon, "a daemon without its control API needs a reason"
    own = {"PYTHONPATH": _TREE, "PYTHONUNBUFFERED": "1"}
    if not is_daemon and ("--config" in arguments or "POLLER_CONFIG" in environment):
        return {**kept, **own, **environment}  # the file may say where the daemon is
    return {**kept, **own, **environment, "POLLER_SERVER__LISTEN": listen}


def poller(
    *arguments: str,
    cwd: Path,
    environment: Mapping[str, str] | None = None,
    stdin: str | None = None,
    stdout: int = subprocess.PIPE,
    timeout: float = _PATIENCE,
    without_server: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; a descriptor given as `stdout` is closed then."""
    variables = command_environment(arguments, environment or {}, without_server=without_server)
    try:
        with Forked(
            *arguments,
            cwd=cwd,
            env=variables,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=stdout,
        ) as process:
            try:
                out, err = process.communicate(stdin, timeout)
            finally:
                process.kill()
    finally:
        if stdout >= 0:
            os.close(stdout)
    defects.hear(err, f"poller {' '.join(arguments)}")
    assert process.returncode is not None
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def eventually(condition: Callable[[], bool], *, timeout: float = _PATIENCE) -> None:
    """Wait until `condition` holds; what it waits for happens in another process."""
    begun = time.monotonic()
    while not condition():
        waited = time.monotonic() - begun
        assert waited < timeout, "it did not happen"
        time.sleep(until_next_check(waited))


def until_next_check(waited: float) -> float:
    """Return the seconds to the next check of a condition that did not hold for `waited` seconds.

    A check costs time too: what takes long is checked less often.
    """
    return min(0.05, 0.005 + waited / 50)


class Poller:
    """A running daemon; a context manager that kills it at the end.

    A defect that it logs fails the test. `program` is what a new interpreter runs, where that is
    more than the command.
    """

    def __init__(
        self,
        *arguments: str,
        cwd: Path,
        environment: Mapping[str, str],
        stdin: bool = False,
        program: Sequence[str] = (),
        without_server: str = "",
    ) -> None:
        self._arguments = arguments
        self._program = program
        self._cwd = cwd
        self._environment = command_environment(
            arguments, environment, without_server=without_server
        )
        self._stdin = subprocess.PIPE if stdin else subprocess.DEVNULL
        self.out: list[str] = []
        self.err: list[str] = []
        self._events: list[dict[str, Any]] = []
        self._logs: list[dict[str, Any] | None] = []

    def __enter__(self) -> Self:
        self.process = self._start()
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
        defects.hear("".join(self.err), f"poller {' '.join(self._arguments)}")
        if self.process.stdin is not None and not self.process.stdin.closed:
            self.process.stdin.close()

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events on standard output so far."""
        # tests ask again and again, until what they wait for is there
        for line in self.out[len(self._events) :]:
            self._events.append(json.loads(line))
        return list(self._events)

    @property
    def logs(self) -> list[dict[str, Any]]:
        """The log lines so far."""
        for line in self.err[len(self._logs) :]:
            self._logs.append(json.loads(line) if line.startswith("{") else None)
        return [line for line in self._logs if line is not None]

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

    def _start(self) -> "Forked | subprocess.Popen[str]":
        if not self._program:
            return Forked(*self._arguments, cwd=self._cwd, env=self._environment, stdin=self._stdin)
        return subprocess.Popen(
            [sys.executable, *self._program, *self._arguments],
            cwd=self._cwd,
            env=self._environment,
            stdin=self._stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @staticmethod
    def _read(stream: Any, lines: list[str]) -> None:  # noqa: ANN401 - a text pipe
        # one by one: a test looks while the process runs
        for line in stream:
            lines.append(line)  # noqa: PERF402 - as above
