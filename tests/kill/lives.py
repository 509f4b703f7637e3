"""Daemons that are killed: each life is a process that appends to the same standard output."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from tests.fakes import defects
from tests.fakes.forked import Forked
from tests.fakes.process import command_environment

__all__ = ["Life", "life"]


class Life:
    """One process from its start to its end; its log is a file of its own."""

    def __init__(self, process: Forked, log: Path) -> None:
        self.process = process
        self.log = log

    def say(self, lines: Sequence[str]) -> Self:
        """Write lines to its standard input; what it no longer reads is lost, as in life."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write("".join(f"{line}\n" for line in lines))
            self.process.stdin.flush()
        return self

    def await_log(self, event: str, *, timeout: float = 30.0) -> None:
        """Wait until it logs that, or has ended."""
        deadline = time.monotonic() + timeout
        while not any(line["event"] == event for line in self.logs()):
            if self.process.poll() is not None:
                return
            assert time.monotonic() < deadline, f"no {event} in {self.log.read_text()}"
            time.sleep(0.01)

    def logs(self) -> list[dict[str, Any]]:
        """Return its whole log lines so far."""
        whole, _, _ = self.log.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    def kill(self) -> None:
        """Send SIGKILL and wait.

        :raises AssertionError: where it has ended by itself.
        """
        self.process.kill()
        assert self.process.wait() == -signal.SIGKILL, self.log.read_text()


@contextmanager
def life(*arguments: str, cwd: Path, environment: Mapping[str, str], number: int) -> Iterator[Life]:
    """Start `poller` with stdout appended to `stdout.ndjson`; killed at the end of the block."""
    log = cwd / f"log.{number:03d}"
    with (cwd / "stdout.ndjson").open("a") as out, log.open("w") as err:
        process = Forked(
            *arguments,
            cwd=cwd,
            env=command_environment(arguments, environment),
            stdin=subprocess.PIPE,
            stdout=out.fileno(),
            stderr=err.fileno(),
        )
    try:
        yield Life(process, log)
    finally:
        process.kill()
        process.wait()
        if process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.close()
        defects.hear(log.read_text(), f"life {number}")
