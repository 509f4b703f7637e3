"""The examples as a sending application runs them: real processes, documented commands."""

import base64
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from poller.simulator import SimulatorConfig
from tests.deploy.places import DEPLOY, relocated, spare_ports
from tests.fakes.process import Poller, eventually, poller
from tests.fakes.receiver import Receiver
from tests.fakes.tls import NO_TLS

pytestmark = pytest.mark.acceptance

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
PATIENCE = 60
INSTALLS = re.compile("-m venv|pip install")


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A simulated API and a poller that run, and the variables that an application needs."""

    place: Path
    daemon: Poller
    environment: Mapping[str, str]
    port: int
    """Where the application listens."""

    @property
    def api(self) -> str:
        """Where the simulated API is."""
        return self.environment["POLLER_API__BASE_URL"]

    @property
    def account(self) -> tuple[str, str]:
        """What it is asked with."""
        variables = self.environment
        return variables["TWILIO_ACCOUNT_SID"], variables["TWILIO_AUTH_TOKEN"]


@pytest.fixture
def example(tmp_path: Path) -> Iterator[Example]:
    """Start both, at ports of their own."""
    ports = spare_ports(8480, 8470, 3000)
    place = relocated(DEPLOY / "examples", tmp_path / "examples", ports)
    config = SimulatorConfig()
    variables = {
        "POLLER_API__BASE_URL": f"http://127.0.0.1:{ports['8480']}/v1",
        "TWILIO_ACCOUNT_SID": config.account_sid,
        "TWILIO_AUTH_TOKEN": config.auth_token,
        "POLLER_SINKS__APP__SECRET": SECRET,
    }
    listen = {"POLLER_SERVER__LISTEN": f"127.0.0.1:{ports['8470']}"}
    options = ("--port", ports["8480"], "--speed", "30")
    run = ("run", "--config", str(place / "poller.toml"))
    with (
        Poller("simulate", *options, cwd=tmp_path, environment={}) as simulator,
        Poller(*run, cwd=tmp_path, environment={**variables, **listen}) as daemon,
    ):
        eventually(lambda: bool(simulator.out))
        eventually(lambda: bool(daemon.logged("server.listening")))
        yield Example(place=place, daemon=daemon, environment=variables, port=int(ports["3000"]))
        assert daemon.stop() == 0
        assert simulator.stop() == 0


def start(*command: str | Path, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start a program of the examples."""
    return subprocess.Popen(
        [*map(str, command)],
        env={"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_sending_app_hears_the_end(example: Example) -> None:
    """It sends, registers with one call, verifies what comes, and ends with its operation."""
    app = start(sys.executable, example.place / "sending_app.py", environment=example.environment)
    out, err = app.communicate(timeout=PATIENCE)
    assert app.returncode == 0, err
    assert err == ""
    watching, *events = out.splitlines()
    operation = watching.removeprefix("watching ")
    assert events
    assert all(operation in line and "'campaign': 'autumn'" in line for line in events)
    assert events[-1].startswith("operation.completed")


def test_an_app_that_is_killed_hears_the_end_later(example: Example) -> None:
    """The registration outlives it: after its return, the webhooks arrive, signed.

    What returns is a receiver that stays: the example itself ends with its own operation.
    """
    app = start(sys.executable, example.place / "sending_app.py", environment=example.environment)
    assert app.stdout is not None
    operation = app.stdout.readline().removeprefix("watching ").strip()
    app.kill()
    app.communicate()
    with Receiver(secret=SECRET, port=example.port) as again:
        eventually(
            lambda: any(
                request.accepted
                and (request.event["type"], request.event["subject"])
                == ("operation.completed", operation)
                for request in list(again.received)
            ),
            timeout=PATIENCE,
        )


@pytest.mark.skipif(shutil.which("node") is None, reason="the receiver needs Node")
def test_the_node_receiver_believes_what_is_signed(example: Example) -> None:
    """It prints each event once, and refuses a forged one."""
    receiver = start("node", example.place / "receiver.mjs", environment=example.environment)
    assert receiver.stdout is not None
    port = receiver.stdout.readline().removeprefix("listening on ").strip()
    message = {"to": [{"address": "+14155550100", "channel": "PHONE"}], "content": {"text": "hi"}}
    sent = httpx.post(f"{example.api}/Messages", json=message, auth=example.account, verify=NO_TLS)
    operation = sent.json()["operationId"]
    (listening,) = example.daemon.logged("server.listening")
    url = f"{listening['address']}/v1/operations"
    assert httpx.post(url, json={"id": operation}, verify=NO_TLS).status_code == 201
    heard: list[str] = []
    while not heard or not heard[-1].endswith("final\n"):
        line = receiver.stdout.readline()
        assert line, receiver.communicate()
        heard.append(line)
    assert all(operation in line for line in heard)
    assert heard[-1].startswith(("operation.completed", "operation.canceled"))
    forged = {"webhook-id": "x", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}
    for headers in ({}, forged):
        answer = httpx.post(
            f"http://127.0.0.1:{port}/", content=b"{}", headers=headers, verify=NO_TLS
        )
        assert answer.status_code == 401
    receiver.terminate()
    receiver.communicate(timeout=PATIENCE)
    assert receiver.returncode == 0


def test_the_documented_commands_work_as_written(tmp_path: Path) -> None:
    """The block of deploy/README.md, in a shell; ports differ, and what is installed is there."""
    (block,) = re.findall(
        r"<!-- tested: a plain machine -->\n+```sh\n(.*?)```",
        (DEPLOY / "README.md").read_text(),
        re.DOTALL,
    )
    ports = spare_ports(8480, 8470, 3000)
    relocated(DEPLOY, tmp_path / "deploy", ports)
    script = "\n".join(line for line in block.splitlines() if not INSTALLS.search(line))
    for port, other in ports.items():
        script = script.replace(port, other)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    shell = subprocess.Popen(
        ["/bin/sh", "-eu", "-c", script],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "POLLER_SERVER__LISTEN": f"127.0.0.1:{ports['8470']}",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = shell.communicate(timeout=PATIENCE)
    finally:
        # nobody stays behind where a line failed
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
        shell.communicate()
    assert shell.returncode == 0, err
    assert "operation.completed" in out


def test_the_shared_variables_fit_the_simulator() -> None:
    """What simulated.env exports, the simulator accepts."""
    config = SimulatorConfig()
    text = (DEPLOY / "examples/simulated.env").read_text()
    assert f"TWILIO_ACCOUNT_SID={config.account_sid}\n" in text
    assert f"TWILIO_AUTH_TOKEN={config.auth_token}\n" in text


def test_the_example_settings_are_good(tmp_path: Path) -> None:
    """`poller check` finds nothing but that no API answers."""
    variables = {"TWILIO_ACCOUNT_SID": "AC" + "0" * 32, "TWILIO_AUTH_TOKEN": "made-up"}
    variables |= {
        "POLLER_API__BASE_URL": "http://127.0.0.1:9/v1",
        "POLLER_SINKS__APP__SECRET": SECRET,
    }
    # a daemon of the developer's own may listen at the default address
    variables |= {"POLLER_SERVER__LISTEN": f"unix:{tmp_path}/absent.sock"}
    config = str(DEPLOY / "examples/poller.toml")
    done = poller("check", "--config", config, cwd=tmp_path, environment=variables)
    assert done.returncode == 1
    assert "1 problem" in done.stdout
