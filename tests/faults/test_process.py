"""Misbehaviour that only a process of its own shows: signals, files of secrets, a closed stdout."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.fakes.api import operation
from tests.fakes.event_files import read_events
from tests.fakes.process import Poller, eventually
from tests.faults.conftest import Witness
from tests.faults.stage import ODD, WELL, campaign
from tests.faults.wild import WildApi
from tests.oracle import check_promises

pytestmark = pytest.mark.acceptance

FAST: Final = {
    "POLLER_API__REQUESTS_PER_SECOND": "500",
    "POLLER_POLLING__MIN_INTERVAL": "20ms",
    "POLLER_POLLING__MAX_INTERVAL": "100ms",
    "POLLER_POLLING__PROGRESS_INTERVAL": "0s",
    "POLLER_POLLING__SWEEP": "off",
    "POLLER_LOG__LEVEL": "debug",
}
CHANGED: Final = "another-token-nobody-may-see"


class Scene:
    """A daemon of its own that watches `ODD` and `WELL`, and the files that it reads."""

    def __init__(self, api: WildApi, directory: Path, witness: Witness) -> None:
        self.api = api
        self.directory = directory
        self.witness = witness
        self.token = directory / "secrets" / "twilio_auth_token"
        self.token.parent.mkdir()
        self.token.write_text(api.credentials[1])
        for name in (ODD, WELL):
            api.script(name, campaign(name)[:2])

    @contextmanager
    def running(self, **settings: str) -> Iterator[Poller]:
        """Run it; it must still be there at the end, and stop in order."""
        variables = {**self.api.environment, **FAST, **settings}
        variables |= {"POLLER_SECRETS_DIR": str(self.token.parent)}
        del variables["TWILIO_AUTH_TOKEN"]
        with Poller("run", ODD, WELL, cwd=self.directory, environment=variables) as daemon:
            eventually(lambda: self.api.count(ODD) > 2 and self.api.count(WELL) > 2)
            yield daemon
            assert daemon.stop() == 0, daemon.err
        self.witness.hear(daemon)
        assert "Traceback" not in "".join(daemon.err)

    def finish(self, daemon: Poller) -> None:
        """Let both operations end, and see that they do."""
        for name in (ODD, WELL):
            self.api.script(name, campaign(name)[2:])
        eventually(lambda: sum(event["data"]["final"] for event in daemon.events) == 2)
        check_promises(daemon.events)


@pytest.fixture
def scene(api: WildApi, tmp_path: Path, witness: Witness) -> Scene:
    """Set it."""
    witness.keep_secret(CHANGED)
    return Scene(api, tmp_path, witness)


@pytest.mark.parametrize(
    "with_sighup", [pytest.param(False, id="probe"), pytest.param(True, id="sighup")]
)
def test_credentials_refused_in_mid_run(scene: Scene, *, with_sighup: bool) -> None:
    """Nothing is lost; the corrected file is read at the next probe, or at once after SIGHUP."""
    interval = "1h" if with_sighup else "100ms"
    with scene.running(POLLER_POLLING__MAX_INTERVAL=interval) as daemon:
        scene.api.credentials = (scene.api.credentials[0], CHANGED)
        if with_sighup:
            # the operations wait for long; a new one is asked about at once
            daemon.signal(signal.SIGHUP)
        eventually(lambda: bool(daemon.logged("account.paused")))
        scene.token.write_text(CHANGED)
        if with_sighup:
            daemon.signal(signal.SIGHUP)
        scene.finish(daemon)
        assert {line["reason"] for line in daemon.logged("account.paused")} == {"unauthorized"}


def test_credentials_missing_at_sighup(scene: Scene) -> None:
    """The reload is refused with a reason, and the old ones stay in force."""
    with scene.running() as daemon:
        scene.token.unlink()
        daemon.signal(signal.SIGHUP)
        eventually(lambda: bool(daemon.logged("daemon.reload_refused")))
        assert "TWILIO_AUTH_TOKEN" in daemon.logged("daemon.reload_refused")[0]["error"]
        scene.finish(daemon)


def test_a_closed_stdout_beside_a_file(scene: Scene) -> None:
    """The sink is closed for the life of the process; the other one misses nothing."""
    sinks = {"out": {"type": "stdout"}, "log": {"type": "file", "path": "events.ndjson"}}
    path = scene.directory / "events.ndjson"
    with scene.running(POLLER_SINKS=json.dumps(sinks)) as daemon:
        _close_reading_end(daemon)
        printed = len(daemon.out)
        for name in (ODD, WELL):
            scene.api.script(name, [operation(name, "PROCESSING", updated=9, total=9)])
        eventually(lambda: len(daemon.out) > printed)
        for name in (ODD, WELL):
            scene.api.script(name, [operation(name, "COMPLETED", updated=10, total=10)])
        eventually(lambda: sum(event["data"]["final"] for event in read_events(path)) == 2)
        eventually(lambda: bool(daemon.logged("sink.closed")))
    check_promises(read_events(path))


def test_a_closed_stdout_alone(scene: Scene) -> None:
    """The daemon stops in order with exit 1, and the next one prints what waited."""
    environment = {**scene.api.environment, **FAST}
    with Poller("run", ODD, WELL, cwd=scene.directory, environment=environment) as daemon:
        eventually(lambda: len(daemon.out) == 4)
        _close_reading_end(daemon)
        for name in (ODD, WELL):
            scene.api.script(name, campaign(name)[2:])
        assert daemon.wait() == 1
    scene.witness.hear(daemon)
    assert "Traceback" not in "".join(daemon.err)
    with Poller("run", "--until-idle", cwd=scene.directory, environment=environment) as again:
        assert again.wait() == 0
    scene.witness.hear(again)
    seen = {event["id"]: event for event in [*daemon.events, *again.events]}
    check_promises(list(seen.values()))


def _close_reading_end(daemon: Poller) -> None:
    """Put another file in its place: it is gone once the read that is under way has returned."""
    assert daemon.process.stdout is not None
    other = os.open(os.devnull, os.O_RDONLY)
    os.dup2(other, daemon.process.stdout.fileno())
    os.close(other)
