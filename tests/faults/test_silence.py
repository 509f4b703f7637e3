"""A real daemon whose PostgreSQL falls silent: it answers probes, stops in time, comes back."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.api import FakeApi, operation_id
from tests.fakes.line import Line
from tests.fakes.process import Poller, eventually
from tests.fakes.tls import NO_TLS
from tests.faults.conftest import Witness
from tests.store.cluster import Cluster

pytestmark = pytest.mark.acceptance

_GRACE = 1.0


@pytest.fixture
def line(cluster: Cluster) -> Iterator[Line]:
    """Lay a line to the server, which can fall silent."""
    with Line(cluster.socket / ".s.PGSQL.5432") as line:
        yield line


@pytest.fixture
def daemon(cluster: Cluster, line: Line, tmp_path: Path, witness: Witness) -> Iterator[Poller]:
    """Run a daemon on a database behind the line."""
    name = cluster.create()
    with FakeApi() as api:
        environment = {
            **api.environment,
            "POLLER_STORE__URL": f"postgresql://poller@127.0.0.1:{line.port}/{name}",
            "POLLER_ENGINE__SHUTDOWN_GRACE": f"{_GRACE:g}s",
        }
        with Poller("run", cwd=tmp_path, environment=environment) as daemon:
            eventually(lambda: bool(daemon.logged("server.listening")))
            eventually(lambda: probe(daemon, seconds=10)["status"] == "ready")
            yield daemon
            line.restore()
        witness.hear(daemon)
    cluster.drop(name)


def probe(daemon: Poller, *, seconds: float = 1.0) -> Any:  # noqa: ANN401 - a document
    """Ask whether it is ready; the answer comes within a second, but for the first one."""
    [listening] = daemon.logged("server.listening")
    return httpx.get(f"{listening['address']}/readyz", timeout=seconds, verify=NO_TLS).json()


def register(daemon: Poller, number: int) -> int:
    """Register an operation; the status of the answer."""
    [listening] = daemon.logged("server.listening")
    body = {"id": operation_id(number)}
    return httpx.post(
        f"{listening['address']}/v1/operations", json=body, timeout=15, verify=NO_TLS
    ).status_code


def test_a_black_hole(daemon: Poller, line: Line) -> None:
    """It is unready meanwhile, acknowledges nothing, and recovers by itself within 10 seconds."""
    line.silence(everything=True)
    begun = time.monotonic()
    eventually(lambda: probe(daemon)["status"] == "unready")
    while time.monotonic() - begun < 5:
        assert probe(daemon)["status"] == "unready"
        time.sleep(0.2)
    line.restore()
    begun = time.monotonic()
    eventually(lambda: probe(daemon)["status"] == "ready")
    assert time.monotonic() - begun < 10
    assert register(daemon, 1) < 300
    assert daemon.stop() == 0


@pytest.mark.parametrize(
    "everything", [pytest.param(False, id="old"), pytest.param(True, id="all")]
)
def test_a_stop_while_the_database_is_silent(
    daemon: Poller,
    line: Line,
    everything: bool,  # noqa: FBT001 - a case
) -> None:
    """SIGTERM is obeyed within the grace and two seconds."""
    line.silence(everything=everything)
    time.sleep(1)
    begun = time.monotonic()
    assert daemon.stop() == 0
    assert time.monotonic() - begun < _GRACE + 2


def test_old_connections_that_fall_silent(daemon: Poller, line: Line) -> None:
    """Fresh ones take their place: what is registered meanwhile is acknowledged."""
    line.silence()
    begun = time.monotonic()
    assert register(daemon, 1) < 300
    assert time.monotonic() - begun < 10
    eventually(lambda: probe(daemon)["status"] == "ready")
    assert daemon.stop() == 0
