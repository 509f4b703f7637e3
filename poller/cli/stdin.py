"""Registrations on standard input: an id or the JSON of a registration on each line."""

import json
import os
from collections.abc import AsyncIterator
from typing import Final

import anyio
import structlog
from anyio.to_thread import run_sync

from poller.tracking.registration import (
    BadRegistration,
    Defaults,
    Registration,
    parse_registration,
)

__all__ = ["read_lines", "read_registration"]

log = structlog.get_logger()

_CHUNK: Final = 65_536
_LONGEST_LINE: Final = 65_536


def read_registration(line: str, defaults: Defaults) -> Registration:
    """Read one line.

    :raises BadRegistration: naming what is wrong with it.
    """
    text = line.strip()
    if not text.startswith("{"):
        return parse_registration({"id": text}, defaults)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRegistration("registration", f"not valid JSON: {error}") from None
    return parse_registration(document, defaults)


async def read_lines(fd: int) -> AsyncIterator[list[tuple[int, str]]]:
    """Yield the lines that have come, numbered from 1, as many at a time as there are.

    Blank lines are passed over; a line over 64 KiB is logged and skipped. Ends with the input.
    """
    rest = b""
    number = 0
    while True:
        await _readable(fd)
        chunk = await run_sync(os.read, fd, _CHUNK)
        *whole, rest = (rest + chunk).split(b"\n")
        if not chunk and rest:
            whole, rest = [*whole, rest], b""
        lines = []
        for raw in whole:
            number += 1
            if text := raw.decode("utf-8", "replace").strip():
                lines.append((number, text))
        if lines:
            yield lines
        if not chunk:
            return
        if len(rest) > _LONGEST_LINE:
            number += 1
            log.warning("stdin.skipped", line=number, error="line is longer than 64 KiB")
            rest = await _skip_line(fd)


async def _skip_line(fd: int) -> bytes:
    while True:
        await _readable(fd)
        chunk = await run_sync(os.read, fd, _CHUNK)
        _, newline, rest = chunk.partition(b"\n")
        if newline or not chunk:
            return rest


async def _readable(fd: int) -> None:
    """Wait without a thread, so that a terminal nobody types at does not hold up the end."""
    try:
        await anyio.wait_readable(fd)
    except PermissionError:
        # a regular file is always readable, and the loop's selector refuses to watch one
        return
