"""The control API through the real command line: an app, its neighbour, and what goes wrong."""

import json
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from poller import __version__
from tests.fakes.api import FakeApi, operation, operation_id
from tests.fakes.process import Poller, eventually, poller
from tests.fakes.receiver import Receiver
from tests.fakes.tls import NO_TLS

pytestmark = pytest.mark.acceptance

FAST = {
    "POLLER_API__REQUESTS_PER_SECOND": "500",
    "POLLER_POLLING__MIN_INTERVAL": "20ms",
    "POLLER_POLLING__MAX_INTERVAL": "100ms",
    "POLLER_POLLING__PROGRESS_INTERVAL": "0s",
    "POLLER_SERVER__LISTEN": "127.0.0.1:0",
}
# registers an operation and is gone: nothing but its one request is left of it
APP = """
import http.client, json, os, signal, sys
port, name = sys.argv[1:]
client = http.client.HTTPConnection("127.0.0.1", int(port))
headers = {"Content-Type": "application/json"}
client.request("POST", "/v1/operations", json.dumps({"id": name}), headers)
assert client.getresponse().status == 201
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def api() -> Iterator[FakeApi]:
    """Give a scripted API."""
    with FakeApi() as server:
        yield server


def address(daemon: Poller) -> str:
    """Wait until the daemon listens; where."""
    eventually(lambda: bool(daemon.logged("server.listening")))
    return str(daemon.logged("server.listening")[0]["address"])


def test_an_app_that_dies_after_its_post_still_gets_its_event(api: FakeApi, tmp_path: Path) -> None:
    """What was acknowledged is watched to its end, though nobody is left to ask."""
    name = api.script(operation_id(1), [operation(operation_id(1), "COMPLETED", total=3)])
    with Receiver() as receiver:
        sinks = json.dumps({"app": {"type": "webhook", "url": receiver.url}})
        variables = {**api.environment, **FAST, "POLLER_SINKS": sinks}
        with Poller("run", cwd=tmp_path, environment=variables) as daemon:
            port = str(httpx.URL(address(daemon)).port)
            app = subprocess.run([sys.executable, "-c", APP, port, name], check=False, timeout=30)
            assert app.returncode < 0
            [request] = receiver.wait_for(1)
            assert daemon.stop() == 0
    assert request.event["subject"] == name
    assert request.event["type"] == "operation.completed"


def test_a_registration_outlives_the_daemon(api: FakeApi, tmp_path: Path) -> None:
    """Killed right after the answer, the next one delivers the event."""
    name = operation_id(1)
    variables = {**api.environment, **FAST}
    with Poller("run", cwd=tmp_path, environment=variables) as first:
        answer = httpx.post(
            f"{address(first)}/v1/operations", json={"id": name}, trust_env=False, verify=NO_TLS
        )
        first.kill()
        assert answer.status_code == 201
    api.script(name, [operation(name, "COMPLETED", total=3)])
    done = poller("run", "--until-idle", cwd=tmp_path, environment=variables)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["subject"] for line in done.stdout.splitlines()] == [name]


def test_a_taken_port_ends_the_run_with_the_way_out(api: FakeApi, tmp_path: Path) -> None:
    """Exit 1 and one message: the setting, the address, and how to do without."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        variables = {**api.environment, "POLLER_SERVER__LISTEN": taken}
        done = poller("run", "--until-idle", cwd=tmp_path, environment=variables)
        assert done.returncode == 1
        said = [line for line in done.stderr.splitlines() if line.startswith("poller: ")]
        assert len(said) == 1
        assert "server.listen" in said[0]
        assert taken in said[0]
        assert "--set server.listen=" in said[0]
        assert "Traceback" not in done.stderr
        without = poller(
            "run", "--until-idle", "--set", "server.listen=", cwd=tmp_path, environment=variables
        )
        assert without.returncode == 0, without.stderr


def test_a_unix_socket_survives_a_crash(api: FakeApi, tmp_path: Path) -> None:
    """Mode 0600; what a killed daemon left is replaced; a daemon in order leaves nothing."""
    path = tmp_path / "poller.sock"
    variables = {**api.environment, **FAST, "POLLER_SERVER__LISTEN": f"unix:{path}"}
    with Poller("run", cwd=tmp_path, environment=variables) as first:
        assert address(first) == f"unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        first.kill()
    assert path.exists()
    with Poller("run", cwd=tmp_path, environment=variables) as second:
        address(second)
        transport = httpx.HTTPTransport(uds=str(path), verify=NO_TLS)
        with httpx.Client(transport=transport, trust_env=False) as client:
            assert client.get("http://poller/v1/sinks").status_code == 200
        assert second.stop() == 0
    assert not path.exists()


def test_open_streams_do_not_hold_up_the_end(api: FakeApi, tmp_path: Path) -> None:
    """SIGTERM ends the stream in order, and the daemon soon after."""
    name = operation_id(1)
    api.script(name, [operation(name, "PROCESSING", total=3, queued=3)])
    with Poller("run", name, cwd=tmp_path, environment={**api.environment, **FAST}) as daemon:
        url = f"{address(daemon)}/v1/events?from=oldest"
        with (
            httpx.Client(trust_env=False, timeout=30, verify=NO_TLS) as client,
            client.stream("GET", url) as answer,
        ):
            lines = answer.iter_lines()
            assert any(line == "event: operation.processing" for line in lines)
            begun = time.monotonic()
            daemon.signal(signal.SIGTERM)
            assert ": the stream ends; reconnect with the last id" in list(lines)
        assert daemon.wait() == 0
        assert time.monotonic() - begun < 5


def test_the_token_and_the_observer(api: FakeApi, tmp_path: Path) -> None:
    """The control API wants the token, the probes on their own port never do; no log shows it."""
    token = "a-token-that-nobody-may-see"
    variables = {
        **api.environment,
        **FAST,
        "POLLER_SERVER__TOKEN": token,
        "POLLER_SERVER__OBSERVE": "127.0.0.1:0",
    }
    with Poller("run", cwd=tmp_path, environment=variables) as daemon:
        url = address(daemon)
        observe = daemon.logged("server.listening")[0]["observe"]
        with httpx.Client(trust_env=False, verify=NO_TLS) as client:
            assert client.get(f"{url}/v1/sinks").status_code == 401
            bearer = {"Authorization": f"Bearer {token}"}
            assert client.get(f"{url}/v1/sinks", headers=bearer).status_code == 200
            eventually(lambda: client.get(f"{observe}/healthz").status_code == 200)
            assert client.get(f"{observe}/readyz").json()["status"] == "ready"
            assert client.get(f"{observe}/v1/sinks").status_code == 404
        assert daemon.stop() == 0
    assert token not in "".join(daemon.err) + "".join(daemon.out)


def test_the_page_of_metrics(api: FakeApi, tmp_path: Path) -> None:
    """The page is on both listeners, with the program's version and counts of this daemon."""
    name = operation_id(1)
    api.script(name, [operation(name, "PROCESSING", queued=1)])
    environment = {
        **api.environment,
        "POLLER_SERVER__LISTEN": f"unix:{tmp_path / 'poller.sock'}",
        "POLLER_SERVER__TOKEN": "nobody-needs-it-for-this",
        "POLLER_SERVER__OBSERVE": "127.0.0.1:0",
    }
    with Poller("run", name, cwd=tmp_path, environment=environment) as daemon:
        eventually(lambda: bool(daemon.events and daemon.logged("server.listening")))
        [listening] = daemon.logged("server.listening")
        transport = httpx.HTTPTransport(uds=str(tmp_path / "poller.sock"), verify=NO_TLS)
        with httpx.Client(base_url="http://daemon", transport=transport) as client:
            pages = [client.get("/metrics").text]
        pages.append(
            httpx.get(f"{listening['observe']}/metrics", trust_env=False, verify=NO_TLS).text
        )
        assert daemon.stop() == 0
    for page in pages:
        assert f'comms_poller_build_info{{version="{__version__}"}} 1.0' in page
        assert 'comms_poller_operations{kind="messages",status="PROCESSING"} 1.0' in page
        assert 'comms_poller_polls_total{kind="messages",outcome="ok",request="fetch"} ' in page
        assert 'comms_poller_store_transaction_duration_seconds_count{transaction="' in page
        assert name not in page
