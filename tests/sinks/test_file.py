"""The file sink: exactly once, whole lines, on disk; whatever is killed, full, moved or held."""
# ruff: noqa: ASYNC240  (small files on a test's own disk, looked at between awaits)

import errno
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from poller.sinks.base import OutgoingEvent, SinkHeld, SinkOutcome, SinkUnavailable, SinkVerdict
from poller.sinks.file import FileSink
from poller.sinks.journal import Disk, Journal, ids_of, join_lines
from tests.fakes.outgoing import outgoing

pytestmark = pytest.mark.anyio

NO_SPACE = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
BROKEN = OSError(errno.EIO, os.strerror(errno.EIO))


class FaultyDisk(Disk):
    """A disk with injected failures: `room` bytes are left, the next syncs and cuts fail."""

    def __init__(self) -> None:
        self.room: int | None = None
        self.sync_faults: list[OSError] = []
        self.cut_faults: list[OSError] = []
        self.synced: list[int] = []

    def write(self, fd: int, data: memoryview) -> int:
        """Write what there is room for."""
        if self.room is None:
            return super().write(fd, data)
        if not self.room:
            raise NO_SPACE
        piece = data[: self.room]
        self.room -= len(piece)
        return super().write(fd, piece)

    def sync(self, fd: int) -> None:
        """Sync, or fail to."""
        if self.sync_faults:
            raise self.sync_faults.pop(0)
        super().sync(fd)
        self.synced.append(os.fstat(fd).st_size)

    def truncate(self, fd: int, length: int) -> None:
        """Cut, or fail to."""
        if self.cut_faults:
            raise self.cut_faults.pop(0)
        super().truncate(fd, length)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a file that does not exist yet."""
    return tmp_path / "events.ndjson"


def _events(*ids: str, pad: int = 0) -> list[OutgoingEvent]:
    return [outgoing(event_id, pad=pad) for event_id in ids]


def _ids(path: Path) -> list[str]:
    """Return the ids in the file; every line must be whole."""
    data = path.read_bytes()
    assert data == b"" or data.endswith(b"\n")
    ids = [next(iter(ids_of([line]))) for line in data.splitlines()]
    assert len(ids) == data.count(b"\n")
    return ids


def _verdicts(outcomes: Sequence[SinkOutcome]) -> list[SinkVerdict]:
    return [outcome.verdict for outcome in outcomes]


async def test_an_event_counts_only_when_it_is_on_disk(path: Path) -> None:
    """The file is synced with all of a batch in it before the batch counts, once per batch."""
    disk = FaultyDisk()
    sink = FileSink(name="audit", path=path, disk=disk)
    await sink.start()
    disk.synced.clear()
    await sink.deliver(_events("e1", "e2", "e3"))
    assert disk.synced == [path.stat().st_size]
    await sink.aclose()


async def test_a_second_writer_is_refused(path: Path) -> None:
    """A path has one writer; the error of another names the path and the fix, and it may retry."""
    first, second = FileSink(name="a", path=path), FileSink(name="b", path=path)
    await first.start()
    with pytest.raises(SinkHeld, match="another process or sink") as caught:
        await second.start()
    assert str(path) in caught.value.message
    assert "path of its own" in caught.value.hint
    assert _verdicts(await second.deliver(_events("e1"))) == [SinkVerdict.FAILED]
    await first.aclose()
    await second.start()
    await second.aclose()
    assert _ids(path) == []


async def test_a_process_that_holds_the_file_is_respected(path: Path) -> None:
    """The lock holds between processes, and ends with the process that has it."""
    program = (
        "import fcntl,sys; f=open(sys.argv[1],'a'); fcntl.flock(f,2); print(flush=True); input()"
    )
    with subprocess.Popen(  # noqa: ASYNC220  (our own interpreter, a line at a time)
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout
        other.stdout.readline()
        sink = FileSink(name="audit", path=path)
        with pytest.raises(SinkHeld):
            await sink.start()
        other.kill()
    await sink.start()
    await sink.aclose()


@pytest.mark.parametrize("torn", [b'{"specversion":"1.0","id":"e2"', b"{", b"\0\0\0\0", b'{"id"\0'])
async def test_torn_bytes_are_cut_at_opening(path: Path, torn: bytes) -> None:
    """What a kill left after the last newline goes, whole lines stay, and the log says so."""
    whole = join_lines(_events("e1"))
    path.write_bytes(whole + torn)
    sink = FileSink(name="audit", path=path)
    with capture_logs() as logs:
        await sink.start()
    assert path.read_bytes() == whole
    assert [(log["event"], log["cut_bytes"]) for log in logs] == [
        ("sink.file.torn_line_cut", len(torn))
    ]
    await sink.deliver(_events("e2"))
    await sink.aclose()
    assert _ids(path) == ["e1", "e2"]


@pytest.mark.parametrize("content", [b"precious, without a newline", b"one\ntwo", b"[api]"])
async def test_somebody_elses_file_is_not_touched(path: Path, content: bytes) -> None:
    """A path set by mistake to another file costs nobody a byte."""
    path.write_bytes(content)
    sink = FileSink(name="audit", path=path)
    with pytest.raises(SinkUnavailable, match="and was not changed"):
        await sink.start()
    assert _verdicts(await sink.deliver(_events("e1"))) == [SinkVerdict.FAILED]
    assert path.read_bytes() == content
    await sink.aclose()


async def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """Each wrong path gets a message with the path and the fix."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path, fault, fix in (
        (tmp_path, "Is a directory", "set path to a file"),
        (tmp_path / "no" / "such", "No such file", f"create the directory {tmp_path / 'no'}"),
        (fifo, "not a regular file", 'type = "stdout"'),
        (Path("/dev/null"), "not a regular file", 'type = "stdout"'),
    ):
        with pytest.raises(SinkUnavailable) as caught:
            await FileSink(name="audit", path=path).start()
        assert str(path) in caught.value.message
        assert fault in caught.value.message
        assert fix in caught.value.hint


async def test_a_full_disk_takes_back_the_whole_batch(path: Path) -> None:
    """With no room for all of a batch none of it stays; with room again all of it arrives."""
    disk = FaultyDisk()
    sink = FileSink(name="audit", path=path, disk=disk)
    await sink.deliver(_events("e1"))
    disk.room = 300
    outcomes = await sink.deliver(_events("e2", "e3"))
    assert _verdicts(outcomes) == [SinkVerdict.FAILED] * 2
    assert str(path) in (outcomes[0].error or "")
    assert "No space left on device" in (outcomes[0].error or "")
    assert _ids(path) == ["e1"]
    disk.room = None
    assert _verdicts(await sink.deliver(_events("e2", "e3"))) == [SinkVerdict.DELIVERED] * 2
    await sink.aclose()
    assert _ids(path) == ["e1", "e2", "e3"]


async def test_the_kernels_own_limit_is_a_full_disk_too(path: Path) -> None:
    """A write that the system really cuts short is taken back like any other."""
    sink = FileSink(name="audit", path=path)
    await sink.deliver(_events("e1"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, hard))
    try:
        outcomes = await sink.deliver(_events("e2"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert _verdicts(outcomes) == [SinkVerdict.FAILED]
    assert "File too large" in (outcomes[0].error or "")
    assert _ids(path) == ["e1"]
    assert _verdicts(await sink.deliver(_events("e2"))) == [SinkVerdict.DELIVERED]
    await sink.aclose()
    assert _ids(path) == ["e1", "e2"]


@pytest.mark.parametrize("cut_fails", [0, 1, 2])
@pytest.mark.parametrize("sync_fails", [1, 2])
async def test_a_failed_sync_counts_for_nothing(
    path: Path, cut_fails: int, sync_fails: int
) -> None:
    """After a failed fsync the batch is written again, even if it could not be cut at first."""
    disk = FaultyDisk()
    sink = FileSink(name="audit", path=path, disk=disk)
    await sink.deliver(_events("e1"))
    disk.sync_faults = [BROKEN] * sync_fails
    disk.cut_faults = [BROKEN] * cut_fails
    attempts = [await sink.deliver(_events("e2", "e3"))]
    while attempts[-1][0].verdict is SinkVerdict.FAILED:
        assert "Input/output error" in (attempts[-1][0].error or "")
        attempts.append(await sink.deliver(_events("e2", "e3")))
    assert 2 <= len(attempts) <= 4
    await sink.aclose()
    assert _ids(path) == ["e1", "e2", "e3"]


async def test_a_rotated_file_is_left_behind(path: Path) -> None:
    """After a rename events go to a new file at the path, and the old one is locked no more."""
    sink = FileSink(name="audit", path=path)
    await sink.deliver(_events("e1"))
    rotated = path.rename(path.with_suffix(".1"))
    await sink.deliver(_events("e2"))
    other = FileSink(name="other", path=rotated)
    await other.start()
    await other.aclose()
    await sink.aclose()
    assert (_ids(rotated), _ids(path)) == (["e1"], ["e2"])


async def test_a_truncated_file_goes_on_at_its_new_end(path: Path) -> None:
    """A file that was copied and emptied (`copytruncate`) has no hole afterwards."""
    sink = FileSink(name="audit", path=path)
    await sink.deliver(_events("e1", "e2"))
    os.truncate(path, 0)
    await sink.deliver(_events("e3"))
    path.unlink()
    await sink.deliver(_events("e4"))
    await sink.aclose()
    assert _ids(path) == ["e4"]


async def test_reopening_takes_the_new_file_at_once(path: Path) -> None:
    """SIGHUP after a rename makes the new file, as logrotate expects, and never raises."""
    sink = FileSink(name="audit", path=path)
    await sink.start()
    path.rename(path.with_suffix(".1"))
    await sink.reopen()
    assert path.exists()
    path.unlink()
    path.mkdir()
    with capture_logs() as logs:
        await sink.reopen()
    assert [log["event"] for log in logs] == ["sink.file.reopen_failed"]
    await sink.aclose()


async def test_recall_sees_a_large_last_batch_and_no_further_than_it_must(path: Path) -> None:
    """All of the largest batch is found, however big its events are; ancient lines are not read."""
    old = [f"old{number}" for number in range(2000)]
    last = [f"e{number}" for number in range(FileSink.batch_size)]
    path.write_bytes(join_lines(_events(*old)) + join_lines(_events(*last, pad=5000)))
    sink = FileSink(name="audit", path=path)
    assert await sink.recall({*last, "old0", "unknown"}) == set(last)
    await sink.aclose()


async def test_recall_passes_over_what_is_no_event(path: Path) -> None:
    """Lines that somebody else put there hide none of ours."""
    strange = b'\n[]\n{"id":7}\nnot json\n\xff\xfe\n' + b"[" * 100_000 + b"\n"
    path.write_bytes(join_lines(_events("e1")) + strange + join_lines(_events("e2")))
    sink = FileSink(name="audit", path=path)
    assert await sink.recall({"e1", "e2", "e3"}) == {"e1", "e2"}
    await sink.aclose()


async def test_a_cancelled_batch_is_whole(path: Path) -> None:
    """A batch that is cancelled in the middle is completed, and reported as delivered."""
    outcomes: list[SinkOutcome] = []
    entered, leave = anyio.Event(), anyio.Event()

    class SlowDisk(Disk):
        def sync(self, fd: int) -> None:
            anyio.from_thread.run_sync(entered.set)
            anyio.from_thread.run(_shielded, leave)
            super().sync(fd)

    sink = FileSink(name="audit", path=path)
    await sink.start()
    sink._journal._disk = SlowDisk()

    async def deliver() -> None:
        outcomes.extend(await sink.deliver(_events("e1", "e2")))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(deliver)
        await entered.wait()
        tasks.cancel_scope.cancel()
        leave.set()
    assert _verdicts(outcomes) == [SinkVerdict.DELIVERED] * 2
    await sink.aclose()
    assert _ids(path) == ["e1", "e2"]


async def _shielded(leave: anyio.Event) -> None:
    with anyio.CancelScope(shield=True):
        await leave.wait()


@given(data=st.data(), counts=st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_each_id_is_in_the_file_exactly_once_after_any_crash(
    data: st.DataObject, counts: list[int]
) -> None:
    """Killed at any byte of any batch: reopen, recall, redeliver the rest; none twice or lost."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "events.ndjson"
        expected: list[str] = []
        for number, count in enumerate(counts):
            batch = _events(*(f"e{number}-{index}" for index in range(count)))
            expected += [event.id for event in batch]
            whole = join_lines(batch)
            with path.open("ab") as file:  # a write that a kill cut off here
                file.write(whole[: data.draw(st.integers(0, len(whole)))])
            _restart_and_deliver(path, batch)
        assert _ids(path) == expected


def _restart_and_deliver(path: Path, waiting: Sequence[OutgoingEvent]) -> None:
    journal = Journal(path, recall_lines=6)
    known = journal.recent_ids()
    rest = [event for event in waiting if event.id not in known]
    if rest:
        journal.append(join_lines(rest))
    journal.close()
