"""Hints from the simulator's pushes to the events of the real daemon."""

import socket
from pathlib import Path

import httpx
import pytest

from tests.benchmarks.simulated import Simulated
from tests.fakes.process import Poller, eventually
from tests.oracle import check_promises

pytestmark = pytest.mark.acceptance

# the list is read once a minute: what is found sooner, a hint has named
SLOW = {
    "POLLER_API__REQUESTS_PER_SECOND": "50",
    "POLLER_POLLING__MIN_INTERVAL": "200ms",
    "POLLER_POLLING__PROGRESS_INTERVAL": "0s",
    "POLLER_POLLING__DISCOVER": "true",
}


def test_what_is_pushed_is_discovered_and_watched_to_its_end(tmp_path: Path) -> None:
    """Unordered, doubled, some lost: each end comes once, as without hints, only sooner."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/v1/hints"
    with Simulated("--speed", "4", "--hints", url, cwd=tmp_path) as simulator:
        variables = {**simulator.environment, **SLOW}
        assert variables["POLLER_SERVER__HINTS_URL"] == url
        with Poller("run", cwd=tmp_path, environment=variables) as daemon:
            eventually(lambda: bool(daemon.logged("server.listening")))
            sent = simulator.send(10, recipients=20)
            eventually(
                lambda: (
                    {event["subject"] for event in daemon.events if event["data"]["final"]}
                    >= set(sent)
                ),
            )
            [listening] = daemon.logged("server.listening")
            metrics = httpx.get(f"{listening['address']}/metrics", trust_env=False).text
            assert daemon.stop() == 0
    assert listening["hints"] == f"http://127.0.0.1:{port}"
    counted = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if "hint" in line)
    assert float(counted['comms_poller_hint_pushes_total{outcome="accepted"}']) > 0
    assert float(counted['comms_poller_hints_total{effect="woken"}']) > 0
    assert 'comms_poller_hint_pushes_total{outcome="forged"}' not in counted
    check_promises(daemon.events)
