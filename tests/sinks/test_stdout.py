"""The stdout sink: readers that stall, go away or take half a line; disks that are full."""

import contextlib
import errno
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.sinks.base import SinkOutcome, SinkUnavailable, SinkVerdict
from poller.sinks.pipe import PendingLine, PipeWriter
from poller.sinks.stdout import StdoutSink
from tests.fakes.outgoing import outgoing

pytestmark = pytest.mark.anyio

BIG = 100_000
"""More than a pipe takes."""


@dataclass
class Pipe:
    """A pipe whose reader reads only when the test says so."""

    reading: int
    writing: int
    taken: bytes = b""
    """What was read in the background."""

    def read(self, most: int = 1 << 20) -> bytes:
        """Return what is in the pipe now."""
        got = b""
        with contextlib.suppress(BlockingIOError):
            while len(got) < most and (piece := os.read(self.reading, most - len(got))):
                got += piece
        return got

    def read_in_background(self, size: int) -> threading.Thread:
        """Read this many bytes from another thread, as they come."""
        os.set_blocking(self.reading, True)

        def read() -> None:
            left = size
            while left and (piece := os.read(self.reading, left)):
                left -= len(piece)
                self.taken += piece

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        return thread

    def close_reader(self) -> None:
        """Go away."""
        os.close(self.reading)
        self.reading = -1


@pytest.fixture(params=[True, False], ids=["blocking", "nonblocking"])
def pipe(request: pytest.FixtureRequest) -> Iterator[Pipe]:
    """Give a pipe whose writing end blocks, as usual, or does not."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, request.param)
    made = Pipe(reading, writing)
    yield made
    for fd in (made.reading, made.writing):
        if fd >= 0:
            os.close(fd)


def _verdicts(outcomes: Sequence[SinkOutcome]) -> list[SinkVerdict]:
    return [outcome.verdict for outcome in outcomes]


async def test_a_reader_that_keeps_up_gets_more_than_the_pipe_holds(pipe: Pipe) -> None:
    """A batch larger than the pipe goes through while somebody reads."""
    sink = StdoutSink(writer=PipeWriter(pipe.writing))
    event = outgoing("e1", pad=BIG * 5)
    reader = pipe.read_in_background(len(event.encoded()) + 1)
    assert _verdicts(await sink.deliver([event])) == [SinkVerdict.DELIVERED]
    await anyio.to_thread.run_sync(reader.join)


async def test_a_stalled_reader_fails_only_what_it_did_not_take(pipe: Pipe) -> None:
    """Whole lines count, the half one and the rest do not; it is finished before anything else."""
    sink = StdoutSink(writer=PipeWriter(pipe.writing), timeout=0.1)
    events = [outgoing("e1"), outgoing("e2", pad=BIG), outgoing("e3")]
    outcomes = await sink.deliver(events)
    assert _verdicts(outcomes) == [SinkVerdict.DELIVERED, SinkVerdict.FAILED, SinkVerdict.FAILED]
    assert "reader of file descriptor" in (outcomes[1].error or "")
    got = pipe.read()
    assert _verdicts(await sink.deliver([outgoing("other")])) == [SinkVerdict.DELIVERED]
    got += pipe.read()
    bodies = [outgoing("e1"), outgoing("e2", pad=BIG), outgoing("other")]
    assert got.decode().splitlines() == [event.body for event in bodies]


async def test_the_half_line_is_not_written_twice(pipe: Pipe) -> None:
    """The event whose line was begun is delivered by finishing that line."""
    sink = StdoutSink(writer=PipeWriter(pipe.writing), timeout=0.1)
    events = [outgoing("e1", pad=BIG), outgoing("e2")]
    assert _verdicts(await sink.deliver(events)) == [SinkVerdict.FAILED] * 2
    got = pipe.read()
    assert _verdicts(await sink.deliver(events)) == [SinkVerdict.DELIVERED] * 2
    got += pipe.read()
    assert got.decode().splitlines() == [event.body for event in events]


async def test_sinks_for_the_same_descriptor_mix_no_lines(pipe: Pipe) -> None:
    """Neither while both write nor when one leaves a half line: both share the writer."""
    assert StdoutSink(name="one")._writer is StdoutSink(name="other")._writer
    writer = PipeWriter(pipe.writing)
    stalled = StdoutSink(writer=writer, timeout=0.1)
    one, other = StdoutSink(writer=writer), StdoutSink(writer=writer)
    first = [outgoing("e1", pad=BIG)]
    assert _verdicts(await stalled.deliver(first)) == [SinkVerdict.FAILED]
    got = pipe.read()
    rest = [outgoing(f"e{number}", pad=BIG) for number in (2, 3, 4)]
    size = sum(len(each.encoded()) + 1 for each in first + rest)
    reader = pipe.read_in_background(size - len(got))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.deliver, rest[:1])
        tasks.start_soon(other.deliver, rest[1:])
    await anyio.to_thread.run_sync(reader.join, 10)
    bodies = {each.body for each in first + rest}
    assert {*(got + pipe.taken).decode().splitlines()} == bodies


async def test_cancellation_ends_a_stalled_write_and_reports_what_is_written(pipe: Pipe) -> None:
    """Shutdown does not wait for a reader that stalls, and no line is torn by it."""
    sink = StdoutSink(writer=PipeWriter(pipe.writing), timeout=3600.0)
    outcomes: list[SinkOutcome] = []
    events = [outgoing("e1"), outgoing("e2", pad=BIG)]

    async def deliver() -> None:
        outcomes.extend(await sink.deliver(events))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(deliver)
            await anyio.wait_readable(pipe.reading)
            tasks.cancel_scope.cancel()
    assert _verdicts(outcomes) == [SinkVerdict.DELIVERED, SinkVerdict.FAILED]
    got = pipe.read()
    await sink.aclose()
    got += pipe.read()
    assert got.decode().splitlines() == [event.body for event in events]


async def test_closing_does_not_wait_for_a_stalled_reader(pipe: Pipe) -> None:
    """The half line is finished at closing only if the reader takes it at once."""
    sink = StdoutSink(writer=PipeWriter(pipe.writing), timeout=0.05)
    await sink.deliver([outgoing("e1", pad=BIG)])
    with anyio.fail_after(5):
        await sink.aclose()
    assert sink._writer.unfinished is not None


async def test_a_closed_pipe_is_closed_for_good(pipe: Pipe) -> None:
    """A reader that went away closes the sink, in the middle of a stall too."""
    sink = StdoutSink(writer=PipeWriter(pipe.writing), timeout=30.0)
    pipe.close_reader()
    (outcome,) = await sink.deliver([outgoing("e1")])
    assert outcome.verdict is SinkVerdict.CLOSED
    assert "closed" in (outcome.error or "")


async def test_a_reader_that_goes_away_while_we_wait_closes_the_sink(pipe: Pipe) -> None:
    """A stall that ends with the reader's end is a closed pipe, not a failure."""
    sink = StdoutSink(writer=PipeWriter(pipe.writing), timeout=30.0)
    outcomes: list[SinkOutcome] = []

    async def deliver() -> None:
        outcomes.extend(await sink.deliver([outgoing("e1"), outgoing("e2", pad=BIG)]))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(deliver)
        await anyio.wait_readable(pipe.reading)
        pipe.close_reader()
    assert _verdicts(outcomes) == [SinkVerdict.DELIVERED, SinkVerdict.CLOSED]


async def test_an_idle_sink_notices_that_its_reader_has_gone(pipe: Pipe) -> None:
    """Without a write: a reader that is only slow is still there."""
    sink = StdoutSink(writer=PipeWriter(pipe.writing), timeout=0.05)
    assert not sink.is_closed
    await sink.deliver([outgoing("e1", pad=BIG)])
    assert not sink.is_closed
    pipe.close_reader()
    assert sink.is_closed


async def test_a_closed_descriptor_is_refused_at_start() -> None:
    """Without stdout the sink cannot start, and an attempt says that it is closed."""
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    sink = StdoutSink(writer=PipeWriter(writing))
    with pytest.raises(SinkUnavailable, match="is closed"):
        await sink.start()
    assert _verdicts(await sink.deliver([outgoing("e1")])) == [SinkVerdict.CLOSED]
    assert sink.is_closed


async def test_a_full_disk_behind_stdout_is_a_failure() -> None:
    """Stdout that leads to a full disk may get well again: the events wait."""
    fd = os.open("/dev/full", os.O_WRONLY)
    try:
        (outcome,) = await StdoutSink(writer=PipeWriter(fd)).deliver([outgoing("e1")])
    finally:
        os.close(fd)
    assert outcome.verdict is SinkVerdict.FAILED
    assert "No space left" in (outcome.error or "")


async def test_a_file_behind_stdout_is_written_in_one_go(tmp_path: Path) -> None:
    """Stdout that leads to a file takes any batch."""
    path = tmp_path / "out"
    events = [outgoing(f"e{number}", pad=1000) for number in range(300)]
    with path.open("wb") as file:
        sink = StdoutSink(writer=PipeWriter(file.fileno()))
        outcomes = await sink.deliver(events)
        assert not sink.is_closed
    assert set(_verdicts(outcomes)) == {SinkVerdict.DELIVERED}
    assert path.read_text(encoding="utf-8").splitlines() == [event.body for event in events]


class MeteredPipe(PipeWriter):
    """A writer whose descriptor accepts this many bytes, then fails until the next write."""

    def __init__(self, allowances: list[int]) -> None:
        super().__init__(-1)
        self.taken = b""
        self._allowances = allowances

    def _push(
        self, data: memoryview, *, deadline: float, stop: object
    ) -> tuple[int, OSError | None]:
        del deadline, stop
        count = min(self._allowances.pop(0), len(data)) if self._allowances else len(data)
        self.taken += data[:count]
        return count, None if count == len(data) else OSError(errno.EAGAIN, "")


@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=8),
    allowances=st.lists(st.integers(0, 20), max_size=12),
    batch=st.integers(1, 4),
)
def test_lines_never_mix(sizes: list[int], allowances: list[int], batch: int) -> None:
    """However the bytes are taken, the stream is whole lines, each event once, in order."""
    lines = [
        PendingLine(event_id=str(number), rest=bytes([65 + number]) * size + b"\n")
        for number, size in enumerate(sizes)
    ]
    writer = MeteredPipe(list(allowances))
    waiting = list(lines)
    while waiting:
        progress = writer.write(waiting[:batch], timeout=0, stop=lambda: False)
        waiting = [line for line in waiting if line.event_id not in progress.written]
    assert writer.taken == b"".join(line.rest for line in lines)
    assert writer.unfinished is None
