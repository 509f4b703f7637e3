"""`poller show --messages` and `--failed` as a user runs them, with a daemon and without."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from poller.simulator import Scenario
from tests.fakes.process import Poller, eventually, poller
from tests.fakes.simulated import Simulated

pytestmark = pytest.mark.acceptance

FATE = Scenario(failed=0.2, undelivered=0.1, seconds=1.0)


@pytest.fixture
def simulated() -> Iterator[Simulated]:
    """Serve a simulator."""
    with Simulated() as server:
        yield server


def test_beside_a_daemon(simulated: Simulated, tmp_path: Path) -> None:
    """The daemon says the kind and tells its events; the API says what became of each message."""
    sent = simulated.world.send(recipients=50, fate=FATE, kind="emails")
    simulated.advance(600)
    variables = {**simulated.environment, "POLLER_SERVER__LISTEN": f"unix:{tmp_path}/poller.sock"}
    with Poller(
        *("run", sent.id, "--kind", "emails"), cwd=tmp_path, environment=variables
    ) as daemon:
        eventually(lambda: bool(daemon.logged("server.listening")) and bool(daemon.events))
        as_json = poller(
            "show", sent.id, "--messages", "--json", cwd=tmp_path, environment=variables
        )
        as_tables = poller("show", sent.id, "--failed", cwd=tmp_path, environment=variables)
        assert daemon.stop() == 0
    assert (as_json.returncode, as_json.stderr) == (0, "")
    document = json.loads(as_json.stdout)
    truth = simulated.world.expected(sent.id)
    assert document["kind"] == "emails"
    assert document["events"][-1]["type"] == "operation.completed"
    assert len(document["messages"]) == 50
    assert {one["code"]: one["count"] for one in document["breakdown"]["errors"]} == truth.codes
    assert (as_tables.returncode, as_tables.stderr) == (0, "")
    for line in ("EVENT\t", "CODE\tCOUNT\t", "STATUS\tCHANNEL\tCOUNT", "ID\tSTATUS\t"):
        assert f"\n{line}" in as_tables.stdout
    assert "@" not in as_tables.stdout + as_json.stdout


def test_without_a_daemon(simulated: Simulated, tmp_path: Path) -> None:
    """It takes credentials and an id; what it says apart from the export is on standard error."""
    sent = simulated.world.send(recipients=50, fate=FATE)
    simulated.advance(600)
    done = poller(
        "show", sent.id, "--failed", "--csv", cwd=tmp_path, environment=simulated.environment
    )
    assert done.returncode == 0, done.stderr
    truth = simulated.world.expected(sent.id)
    failed = {one for contexts in truth.contexts.values() for one in contexts}
    assert {line.split(",")[0] for line in done.stdout.splitlines()[1:]} == failed
    assert "Traceback" not in done.stderr
    wrong = poller("show", sent.id, "--csv", cwd=tmp_path, environment=simulated.environment)
    assert wrong.returncode == 2
    assert "requires --messages or --failed" in wrong.stderr
