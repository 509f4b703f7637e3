"""A full disk, a real one: everything waits, says so, and goes on when there is room again."""

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.event_files import read_events
from tests.fakes.process import Poller, eventually, poller
from tests.kill.campaigns import Campaigns
from tests.oracle import judge

pytestmark = pytest.mark.acceptance

SIZE = 8 * 1024 * 1024
OPERATIONS = 12
UNDISTURBED = OPERATIONS - 4
"""All but those that were being asked for, `api.max_concurrency` at most."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a small file system, where this machine lets us."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("a small file system can be mounted by root alone")
    command = [mount, "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no small file system can be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)  # noqa: S607 - as root, found


def fill(place: Path, *, leave: int = 0) -> Path:
    """Fill a disk except this many bytes; return the file that does it."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            file.truncate(max(0, file.tell() - leave))
    return ballast


def environment(api: Campaigns, cwd: Path, **more: str) -> dict[str, str]:
    """Point a fast poller at the API; everything it writes is beside it unless `more` says so."""
    sinks = {"log": {"type": "file", "path": str(cwd / "events.ndjson")}, "out": {"type": "stdout"}}
    return {
        **api.environment,
        "POLLER_API__REQUESTS_PER_SECOND": "200",
        "POLLER_POLLING__MIN_INTERVAL": "20ms",
        "POLLER_POLLING__MAX_INTERVAL": "200ms",
        "POLLER_POLLING__PROGRESS_INTERVAL": "0s",
        "POLLER_SINKS": json.dumps(sinks),
        **more,
    }


def check(
    api: Campaigns, path: Path, printed: list[dict[str, Any]], *, repeated: bool = False
) -> None:
    """Look that each event is in the file once, in order, every end reported, and stdout agrees."""
    ends = {name: campaign.end for name, campaign in api.campaigns.items()}
    assert path.read_bytes().endswith(b"\n"), "the last line is torn"
    in_file, on_stdout = judge(read_events(path), ends=ends), judge(printed, ends=ends)
    assert not in_file.problems
    assert not on_stdout.problems
    assert in_file.duplicates == 0
    assert on_stdout.duplicates == 0 or repeated
    assert in_file.events == on_stdout.events


def refusals(daemon: Poller) -> list[dict[str, Any]]:
    """Return the lines about a sink that does not take its events."""
    return [*daemon.logged("sink.failing"), *daemon.logged("sink.down")]


def test_the_file_waits_for_room_and_is_never_torn(tmp_path: Path, small_disk: Path) -> None:
    """The disk of the events is full: they wait and say so, stdout goes on; with room they go."""
    path = small_disk / "events.ndjson"
    with Campaigns(seed=1, number=OPERATIONS, phases=1, steps=4) as api:
        variables = environment(
            api, small_disk, POLLER_STORE__URL=f"sqlite:///{tmp_path}/poller.db"
        )
        with Poller(
            "run", "--until-idle", *api.campaigns, cwd=tmp_path, environment=variables
        ) as daemon:
            eventually(lambda: len(read_events(path)) > OPERATIONS)
            ballast = fill(small_disk, leave=1500)
            api.phase = 1
            eventually(lambda: sum(one["data"]["final"] for one in daemon.events) == OPERATIONS)
            eventually(lambda: bool(refusals(daemon)))
            failed = refusals(daemon)[0]
            assert failed["sink"] == "log"
            assert "No space left on device; free space" in failed["error"]
            assert daemon.process.poll() is None
            ballast.unlink()
            assert daemon.wait() == 0
        check(api, path, daemon.events)


def test_a_crash_on_a_full_disk_repeats_nothing(tmp_path: Path, small_disk: Path) -> None:
    """Killed while the disk is full and started while it is: each event is in the file once."""
    path = small_disk / "events.ndjson"
    with Campaigns(seed=2, number=OPERATIONS, phases=1, steps=4) as api:
        variables = environment(
            api, small_disk, POLLER_STORE__URL=f"sqlite:///{tmp_path}/poller.db"
        )
        printed = []
        with Poller("run", *api.campaigns, cwd=tmp_path, environment=variables) as daemon:
            eventually(lambda: len(read_events(path)) > OPERATIONS)
            ballast = fill(small_disk, leave=1500)
            api.phase = 1
            eventually(lambda: bool(refusals(daemon)))
            daemon.kill()
            printed += daemon.events
        with Poller("run", "--until-idle", cwd=tmp_path, environment=variables) as daemon:
            eventually(lambda: bool(refusals(daemon)))
            ballast.unlink()
            assert daemon.wait() == 0
            printed += daemon.events
        check(api, path, printed, repeated=True)


def test_the_daemon_outlives_a_full_store(small_disk: Path) -> None:
    """Neither answers nor deliveries can be recorded: it says so, waits, and loses nothing."""
    path, database = small_disk / "events.ndjson", small_disk / "poller.db"
    with Campaigns(seed=3, number=OPERATIONS, phases=1, steps=4) as api:
        variables = environment(api, small_disk)
        with Poller("run", *api.campaigns, cwd=small_disk, environment=variables) as daemon:
            eventually(lambda: len(read_events(path)) > OPERATIONS)
            ballast = fill(small_disk)
            api.phase = 1
            eventually(lambda: bool(daemon.logged("store.unavailable")))
            assert "free some space" in daemon.logged("store.unavailable")[0]["error"]
            assert daemon.process.poll() is None
            ballast.unlink()
            # what was being asked for meanwhile waits for its lease, or for the next start
            eventually(lambda: sum(one["data"]["final"] for one in daemon.events) >= UNDISTURBED)
            assert daemon.stop() == 0
        done = poller("run", "--until-idle", cwd=small_disk, environment=variables)
        assert done.returncode == 0, done.stderr
        check(api, path, [*daemon.events, *map(json.loads, done.stdout.splitlines())])
        with closing(sqlite3.connect(database)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert not [line for line in daemon.err if "Traceback" in line]


def test_a_start_on_a_full_disk_is_refused_with_a_reason(small_disk: Path) -> None:
    """A store that cannot be made ends the start with what to do about it."""
    fill(small_disk)
    with Campaigns(seed=4, number=1, phases=0, steps=1) as api:
        done = poller(
            "run", "--until-idle", cwd=small_disk, environment=environment(api, small_disk)
        )
    assert done.returncode == 1
    assert "store.url" in done.stderr
    assert "free some space" in done.stderr
    assert "Traceback" not in done.stderr
