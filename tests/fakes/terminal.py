"""The command line on a terminal, as a person sees it."""

import fcntl
import os
import pty
import re
import select
import struct
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.fakes import defects
from tests.fakes.forked import Forked
from tests.fakes.process import command_environment

__all__ = ["Terminal"]

_PATIENCE = 30.0


class Terminal:
    """A command on a pseudo-terminal of 100 by 24; a context manager that kills it at the end."""

    def __init__(self, *arguments: str, cwd: Path, environment: Mapping[str, str]) -> None:
        self._arguments = arguments
        self._cwd = cwd
        own = command_environment(arguments, environment)
        self._environment = {"TERM": "xterm", **own}
        self._output = b""

    def __enter__(self) -> Self:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        self._process = Forked(
            *self._arguments,
            cwd=self._cwd,
            env=self._environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            terminal=True,
        )
        os.close(slave)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)
        defects.hear(self.text, "a command on a terminal")

    @property
    def text(self) -> str:
        """Everything that was written, without what moves the cursor and colours."""
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._output.decode())
        return plain.replace("\r\n", "\n")

    @property
    def last_picture(self) -> str:
        """The last picture of `poller watch`, and what follows it."""
        begin = self.text.rfind("operation  status")
        return self.text[begin if begin >= 0 else self.text.rindex("message  status") :]

    @property
    def restored(self) -> bool:
        """Whether a cursor that was hidden can be seen again."""
        return self._output.rindex(b"\x1b[?25h") > self._output.rindex(b"\x1b[?25l")

    def read_until(self, condition: Callable[[str], bool]) -> None:
        """Read until what was written fulfils `condition`."""
        deadline = time.monotonic() + _PATIENCE
        while not condition(self.text):
            assert time.monotonic() < deadline, self.text
            self._read()

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._master, keys)

    def wait(self) -> int:
        """Read to the end; returns the exit code."""
        deadline = time.monotonic() + _PATIENCE
        while self._read():
            assert time.monotonic() < deadline, self.text
        return self._process.wait(_PATIENCE)

    def _read(self) -> bool:
        if not select.select([self._master], [], [], 0.1)[0]:
            return True
        try:
            chunk = os.read(self._master, 65_536)
        except OSError:  # the other end has closed its terminal
            return False
        self._output += chunk
        return bool(chunk)
