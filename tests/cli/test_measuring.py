"""What `poller run` measures, and for whom."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from poller import __version__
from tests.fakes.api import FakeApi, operation, operation_id
from tests.fakes.process import Poller, eventually

ONE = operation_id(1)


@pytest.fixture
def api() -> Iterator[FakeApi]:
    """Give a scripted API."""
    with FakeApi() as server:
        server.script(ONE, [operation(ONE, "PROCESSING", queued=1)])
        yield server


@pytest.mark.acceptance
def test_a_running_daemon_shows_what_it_does(api: FakeApi, tmp_path: Path) -> None:
    """The page is on both listeners, with the program's version and counts of this daemon."""
    environment = {
        **api.environment,
        "POLLER_SERVER__LISTEN": f"unix:{tmp_path / 'door'}",
        "POLLER_SERVER__TOKEN": "nobody-needs-it-for-this",
        "POLLER_SERVER__OBSERVE": "127.0.0.1:0",
    }
    with Poller("run", ONE, cwd=tmp_path, environment=environment) as daemon:
        eventually(lambda: bool(daemon.events and daemon.logged("server.listening")))
        [listening] = daemon.logged("server.listening")
        transport = httpx.HTTPTransport(uds=str(tmp_path / "door"))
        with httpx.Client(base_url="http://door", transport=transport) as door:
            pages = [door.get("/metrics").text]
        pages.append(httpx.get(f"{listening['observe']}/metrics", trust_env=False).text)
        assert daemon.stop() == 0
    for page in pages:
        assert f'comms_poller_build_info{{version="{__version__}"}} 1.0' in page
        assert 'comms_poller_operations{kind="messages",status="PROCESSING"} 1.0' in page
        assert 'comms_poller_polls_total{kind="messages",outcome="ok",request="fetch"} ' in page
        assert 'comms_poller_store_transaction_duration_seconds_count{transaction="' in page
        assert ONE not in page


def test_without_a_door_nothing_is_measured() -> None:
    """Where nobody can ask, the library is not even imported."""
    program = (
        "import sys; from poller.cli.measuring import measuring; "
        "from poller.server.listening import Listening; "
        "assert measuring(Listening(address=None)).page is None; "
        "assert not [name for name in sys.modules if name.startswith('prometheus_client')]"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
