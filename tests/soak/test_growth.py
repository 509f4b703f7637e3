"""Nothing grows: a daemon under a steady load, for as long as `SOAK_SECONDS` says (from 300 on).

New operations come in on standard input all the time and are pruned seconds after their end; the
API and the webhook fail now and then; the file of events is rotated. What is left over must stay
the same: memory, descriptors, threads, the database. The one thing that may grow is the stub of
each ended operation, which is kept for two weeks; so it is measured for itself, and bounded.
"""

import base64
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from poller.simulator import SimulatorConfig
from tests.fakes.process import Poller, eventually
from tests.fakes.receiver import Answer, Receiver
from tests.soak.sampling import Sample, rise, table, take

pytestmark = pytest.mark.soak

SECONDS = float(os.environ.get("SOAK_SECONDS", "1200"))
SEED = int(os.environ.get("SOAK_SEED", "1"))
A_SECOND = 4  # operations that begin
SAMPLE_EVERY = 5.0
ROTATE_EVERY = 30.0
WARM_UP = 0.5 * SECONDS
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()

# By how much the fitted line may rise over the time after the warm-up. Memory: a tenth of a
# daemon's usual size; the allocator and SQLite's caches fill for some minutes. The database: what
# waits at one moment more than at another. The write-ahead log is a high-water mark: it never
# shrinks, and grows a step when somebody reads (as the sampler does) while it would begin again.
ALLOWED = {"rss_kib": 8 * 1024, "descriptors": 4, "threads": 2, "other_kib": 1536, "wal_kib": 4096}
STUB_BYTES = 1536
"""The most that one ended operation may leave behind, indices included."""


class Load:
    """Begins operations at a steady pace and hands their ids to the daemon."""

    def __init__(self, base_url: str, config: SimulatorConfig, daemon: Poller) -> None:
        self.ids: set[str] = set()
        self._url = f"{base_url}/Messages"
        self._auth = (config.account_sid, config.auth_token)
        self._daemon = daemon

    def run(self, stop: threading.Event) -> None:
        """Begin operations until stopped."""
        chance = random.Random(SEED)  # noqa: S311 - a load that can be repeated
        with httpx.Client(auth=self._auth, trust_env=False) as client:
            while not stop.wait(1 / A_SECOND):
                to = [{"address": f"+1415555{n:04d}"} for n in range(chance.randint(1, 60))]
                tags = {"simulator-fate": chance.choice(["ordinary", "smooth", "canceled"])}
                body = {"to": to, "content": {"text": "soak"}, "tags": tags}
                answer = _posted(client, self._url, body)
                if answer is not None:
                    self.ids.add(answer)
                    self._daemon.say(json.dumps({"id": answer, "labels": {"n": str(len(to))}}))


class Counting(Receiver):
    """A receiver that remembers how often each end was accepted, and no request."""

    def __init__(self) -> None:
        super().__init__(secret=SECRET)
        self.ends: Counter[str] = Counter()
        self.bad_signatures = 0
        self.turn = 0
        self.answer_always(self._choose)

    def sweep(self) -> None:
        """Take note of what has come, and forget it."""
        with self._changed:
            received, self._received = self._received, []
        for request in received:
            if len(request.body) < int(request.headers["content-length"]):
                continue  # given up by its sender half way: it has not arrived
            self.bad_signatures += request.signature != "good"
            if request.accepted and request.event["data"]["final"]:
                self.ends[request.event["subject"]] += 1

    def _choose(self, _number: int) -> Answer:
        self.turn += 1
        if self.turn % 11 == 0:
            return Answer(status=503)
        return Answer(reset=True) if self.turn % 37 == 0 else Answer()


class Rotated:
    """The file of events, moved away and counted now and then."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ends: Counter[str] = Counter()
        self.events = 0

    def rotate(self) -> None:
        """Move the file away; count what an earlier move left behind, which is complete by now."""
        old = self.path.with_suffix(".1")
        self.count(old)
        if self.path.exists():
            self.path.rename(old)

    def count(self, path: Path) -> None:
        """Count the ends in a file, and remove it."""
        if not path.exists():
            return
        with path.open() as lines:
            for line in lines:
                event = json.loads(line)
                self.events += 1
                self.ends[event["subject"]] += event["data"]["final"]
        path.unlink()


def test_nothing_grows(tmp_path: Path) -> None:
    """Memory, descriptors, threads and the database stay flat; every end arrives exactly once."""
    config = SimulatorConfig(seed=SEED)
    rotated = Rotated(tmp_path / "events.ndjson")
    with _simulator() as base_url, Counting() as receiver:
        variables = _environment(base_url, config, receiver.url)
        run = ("run", "--stdin", "--until-idle")
        with Poller(
            *run, cwd=tmp_path, environment=variables, stdin=True, program=("-m", "poller")
        ) as daemon:
            # the file of events is opened after the store
            eventually(rotated.path.exists)
            load = Load(base_url, config, daemon)
            samples = _watch(load, daemon, receiver, rotated, tmp_path / "poller.db")
            daemon.end_input()
            code = daemon.wait(120)
        receiver.sweep()
    rotated.rotate()
    rotated.rotate()
    _say(
        f"\nSOAK_SECONDS={SECONDS:g} SOAK_SEED={SEED}: {len(load.ids)} operations, "
        f"{rotated.events} events in the file, {receiver.turn} webhook requests"
    )
    _say(table(samples))
    assert code == 0, daemon.err[-20:]
    assert {name: count for name, count in rotated.ends.items() if count} == dict.fromkeys(
        load.ids, 1
    )
    assert set(receiver.ends) == load.ids
    assert receiver.bad_signatures == 0
    assert not [line for line in daemon.err if "Traceback" in line]
    _check_growth(samples)


def _check_growth(samples: list[Sample]) -> None:
    warm = [sample for sample in samples if sample.at >= WARM_UP]
    rises = {field: rise(warm, field) for field in ALLOWED}
    stubs = rise(warm, "known")
    stub_bytes = rise(warm, "watches_kib") * 1024 / max(1.0, stubs)
    _say(
        f"rise of the fitted line after {WARM_UP:g} s: "
        + ", ".join(f"{field} {value:+.1f} (≤ {ALLOWED[field]})" for field, value in rises.items())
        + f"; {stub_bytes:.0f} bytes a stub (≤ {STUB_BYTES})"
    )
    assert {field: value for field, value in rises.items() if value > ALLOWED[field]} == {}
    assert stub_bytes <= STUB_BYTES


def _watch(
    load: Load, daemon: Poller, receiver: Counting, rotated: Rotated, database: Path
) -> list[Sample]:
    """Run the load for so long, and take samples meanwhile."""
    stop = threading.Event()
    loading = threading.Thread(target=load.run, args=(stop,), daemon=True)
    loading.start()
    began = rotated_at = time.monotonic()
    samples: list[Sample] = []
    try:
        while (at := time.monotonic() - began) < SECONDS:
            stop.wait(SAMPLE_EVERY)
            assert daemon.process.poll() is None, daemon.err[-20:]
            samples.append(take(at, daemon.process.pid, database))
            receiver.sweep()
            if time.monotonic() - rotated_at >= ROTATE_EVERY:
                rotated_at = time.monotonic()
                rotated.rotate()
    finally:
        stop.set()
        loading.join()
    return samples


def _environment(base_url: str, config: SimulatorConfig, hook: str) -> dict[str, str]:
    sinks = {
        "log": {"type": "file", "path": "events.ndjson"},
        "app": {"type": "webhook", "url": hook, "secret": SECRET, "timeout": "2s"},
    }
    return {
        "POLLER_API__BASE_URL": base_url,
        "POLLER_API__REQUESTS_PER_SECOND": "100",
        "POLLER_POLLING__MIN_INTERVAL": "500ms",
        "POLLER_POLLING__MAX_INTERVAL": "5s",
        "POLLER_POLLING__PROGRESS_INTERVAL": "500ms",
        "POLLER_STORE__RETENTION": "5s",
        "POLLER_LOG__LEVEL": "error",
        "POLLER_SINKS": json.dumps(sinks),
        "TWILIO_ACCOUNT_SID": config.account_sid,
        "TWILIO_AUTH_TOKEN": config.auth_token,
    }


def _say(line: str) -> None:
    print(line)  # noqa: T201 - the report of a soak is its output


def _posted(client: httpx.Client, url: str, body: object) -> str | None:
    """Begin an operation; None where the simulator was set to fail this request."""
    try:
        answer = client.post(url, json=body)
        return str(answer.json()["operationId"])
    except (httpx.HTTPError, KeyError, ValueError):
        return None


@contextmanager
def _simulator() -> Iterator[str]:
    """Run a simulator in a process of its own; its base URL."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.soak.simulated", "--seed", str(SEED)]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()
