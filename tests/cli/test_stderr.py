"""Standard error that cannot be written: lines are lost, never time and never work."""

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from poller.cli.stderr import BackgroundStream

LINE = "x" * 99 + "\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Give both ends of a pipe."""
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def fill(writer: int) -> None:
    """Leave no room in a pipe."""
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"-" * 4095 + b"\n")
    os.set_blocking(writer, True)


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for the thread that writes."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_lines_keep_their_order(pipe: tuple[int, int]) -> None:
    """Everything arrives, whatever its size, and the end waits for it."""
    reader, writer = pipe
    stream = BackgroundStream(writer)
    said = [f"{number}\n" * (1 + number % 50) for number in range(300)]
    for text in said:
        stream.write(text)
    stream.drain(20)
    assert os.read(reader, 1_000_000).decode() == "".join(said)
    assert stream.dropped == 0


def test_a_stalled_reader_costs_lines_only(pipe: tuple[int, int]) -> None:
    """What does not fit is dropped at once and counted; said once, when the reader reads again."""
    reader, writer = pipe
    fill(writer)
    stream = BackgroundStream(writer, capacity=10 * len(LINE))
    for _ in range(2000):
        stream.write(LINE)
    dropped = stream.dropped
    assert dropped > 1000
    begun = time.monotonic()
    stream.drain(0.05)
    assert time.monotonic() - begun < 5
    got = b""
    while b"could not be written" not in got:
        got += os.read(reader, 65_536)
    stream.write("again\n")
    stream.drain(20)
    got += os.read(reader, 65_536)
    lines = got.decode().splitlines(keepends=True)
    assert lines.count(LINE) == 2000 - dropped
    assert lines[-2:] == [f"poller: {dropped:,} lines could not be written here\n", "again\n"]
    assert stream.dropped == dropped


def test_a_reader_that_is_gone_is_no_error() -> None:
    """Each line is counted."""
    reader, writer = os.pipe()
    os.close(reader)
    stream = BackgroundStream(writer)
    for _ in range(5):
        stream.write(LINE)
    eventually(lambda: stream.dropped == 5)
    os.close(writer)


def test_half_a_line_is_ended_before_the_next(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that became full in the middle of a line, and has room again."""
    reader, writer = pipe
    write, full = os.write, [False]

    def small_disk(fd: int, data: bytes) -> int:
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        is_first = bytes(data).startswith(b"one")
        full[0] = is_first
        return write(fd, bytes(data)[:2] if is_first else data)

    monkeypatch.setattr(os, "write", small_disk)
    stream = BackgroundStream(writer)
    stream.write("one\n")
    eventually(lambda: stream.dropped == 1)
    full[0] = False
    stream.write("two\n")
    stream.drain(20)
    said = os.read(reader, 1000).decode().splitlines()
    assert said == ["on", "two", "poller: 1 line could not be written here"]


@pytest.mark.parametrize("end", ["raise RuntimeError('crashed')", "sys.exit('crashed')"])
def test_the_last_words_arrive_and_a_stalled_reader_holds_no_end(
    pipe: tuple[int, int], end: str
) -> None:
    """A traceback of the interpreter goes the same way, and the process ends either way."""
    program = f"import sys; from poller.cli.stderr import install; install(); {end}"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "crashed" in done.stderr) == (1, True)
    _, writer = pipe
    fill(writer)
    assert subprocess.run(command, stderr=writer, timeout=60, check=False).returncode == 1
