"""Registrations on standard input: an id or the JSON of a registration on each line."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import anyio
import structlog
from anyio.to_thread import run_sync

from poller.engine.daemon import Daemon
from poller.store.errors import StoreError
from poller.store.registrations import Registered
from poller.text import NotJson, parse_json
from poller.tracking.registration import (
    BadRegistration,
    Defaults,
    Registration,
    parse_registration,
)
from poller.trouble import TroubleLog

log = structlog.get_logger()

_RETRY_SECONDS: Final = 1.0
_CHUNK: Final = 65_536
_LONGEST_LINE: Final = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class InputLine:
    """One line, numbered from 1; `fault` says why it could not be read, None if it could."""

    number: int
    text: str = ""
    fault: str | None = None


def read_registration(line: InputLine, defaults: Defaults) -> Registration:
    """Parse one line.

    :raises BadRegistration: naming what is wrong with it.
    """
    if line.fault is not None:
        raise BadRegistration("line", line.fault)
    if line.text.startswith(('"', "[")):
        raise BadRegistration(
            "line", 'write an id without quotes or brackets, or an object such as {"id": "…"}'
        )
    if not line.text.startswith("{"):
        return parse_registration({"id": line.text}, defaults)
    try:
        document = parse_json(line.text)
    except NotJson as error:
        raise BadRegistration("registration", str(error)) from None
    return parse_registration(document, defaults)


async def read_lines(fd: int) -> AsyncIterator[list[InputLine]]:
    """Yield lines as they arrive, all that are available at a time.

    Blank lines are skipped. A line over 64 KiB, or one that is not UTF-8, is yielded without its
    text, with a fault. Stops at the end of the input; if reading fails, the last line has the
    fault.
    """
    splitter = _Splitter()
    while True:
        try:
            chunk = await _read(fd)
        except OSError as error:
            fault = f"standard input cannot be read: {error.strerror}"
            yield [InputLine(number=splitter.number + 1, fault=fault)]
            return
        # the end of the input ends the last line
        if lines := splitter.feed(chunk or b"\n"):
            yield lines
        if not chunk:
            return


class StandardInput:
    """Registers the lines of standard input; `refused` counts those that could not be."""

    def __init__(self, defaults: Defaults, *, fd: int = 0) -> None:
        self.refused = 0
        self._defaults = defaults
        self._fd = fd
        self._troubles = TroubleLog()

    async def register(self, daemon: Daemon) -> None:
        """Register each line as it comes, until the end of the input.

        A line that cannot be registered is logged, counted and skipped.
        """
        async for lines in read_lines(self._fd):
            numbers, registrations = [], []
            for line in lines:
                try:
                    registrations.append(read_registration(line, self._defaults))
                except BadRegistration as error:
                    self._refuse(line.number, str(error))
                else:
                    numbers.append(line.number)
            for number, result in zip(
                numbers, await self._store(daemon, registrations), strict=True
            ):
                if result.conflict is not None:
                    self._refuse(number, result.conflict)

    def _refuse(self, number: int, error: str) -> None:
        self.refused += 1
        self._troubles.failure(log, "stdin.skipped", cause=number, line=number, error=error)

    async def _store(
        self, daemon: Daemon, registrations: Sequence[Registration]
    ) -> Sequence[Registered]:
        """Register what was read; while the store fails, try again until it accepts."""
        while registrations:
            try:
                results = await daemon.register(registrations)
            except StoreError as error:
                self._troubles.failure(
                    log, "store.unavailable", level="error", error=str(error), loop="stdin"
                )
                await anyio.sleep(_RETRY_SECONDS)
            else:
                self._troubles.success(log, "store.unavailable", "store.recovered", loop="stdin")
                return results
        return []


class _Splitter:
    """Cuts what was read into lines and numbers them; holds at most one line that is too long."""

    def __init__(self) -> None:
        self.number = 0
        self._rest = b""
        self._is_skipping = False

    def feed(self, chunk: bytes) -> list[InputLine]:
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        lines = [line for raw in whole if (line := self._line(raw)) is not None]
        if len(self._rest) > _LONGEST_LINE and not self._is_skipping:
            self._is_skipping = True
            lines.append(_too_long(self.number + 1))
        if self._is_skipping:
            self._rest = b""
        return lines

    def _line(self, raw: bytes) -> InputLine | None:
        self.number += 1
        if self._is_skipping:
            # the end of a line that was refused already
            self._is_skipping = False
            return None
        if len(raw) > _LONGEST_LINE:
            return _too_long(self.number)
        try:
            # some systems put a byte order mark before what they write into a pipe
            text = raw.decode("utf-8-sig" if self.number == 1 else "utf-8").strip()
        except UnicodeDecodeError:
            return InputLine(number=self.number, fault="not UTF-8")
        return InputLine(number=self.number, text=text) if text else None


def _too_long(number: int) -> InputLine:
    return InputLine(number=number, fault="longer than 64 KiB")


async def _read(fd: int) -> bytes:
    """Read once the input is ready. No thread waits, so a silent terminal delays no shutdown."""
    # a regular file is always readable, and the loop's selector refuses to watch one
    with suppress(PermissionError):
        await anyio.wait_readable(fd)
    return await run_sync(os.read, fd, _CHUNK)
