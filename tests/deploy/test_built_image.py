"""The image as it is built: what an engine reads of it, and its daemon as a container runs it."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from poller import __version__
from poller.audit.audit import Audit, number_lines
from poller.simulator import SimulatorConfig
from tests.deploy.built import DOCKERFILE, Image, built, missing
from tests.deploy.dockerfile import stages
from tests.deploy.namespaces import process_one
from tests.deploy.places import spare_ports
from tests.fakes.process import eventually

pytestmark = [pytest.mark.image, pytest.mark.acceptance]


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """Build it; where that cannot be done it is skipped, or fails where it is required."""
    if (reason := missing()) is not None:
        if os.environ.get("POLLER_TEST_REQUIRE_IMAGE") == "1":
            pytest.fail(f"POLLER_TEST_REQUIRE_IMAGE is 1, but {reason}")
        pytest.skip(f"the image is not built: {reason}")
    with built() as image:
        yield image


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Make an empty volume of the image's user."""
    place = tmp_path / "data"
    place.mkdir()
    os.chown(place, 10001, 10001)
    return place


def test_an_engine_reads_what_the_dockerfile_says(image: Image) -> None:
    """User, volume, signal, health check, command and labels; it reports the size of our layers."""
    final = stages(DOCKERFILE)[-1]
    config = image.config
    assert config["User"] == final.one("USER") == "10001:10001"
    assert list(config["Volumes"]) == [final.one("VOLUME")] == [config["WorkingDir"]]
    assert config["StopSignal"] == "SIGTERM"
    assert config["Healthcheck"]["Test"] == ["CMD", "poller", "health"]
    assert image.command() == ["poller", "run"]
    labels = {
        name.removeprefix("org.opencontainers.image."): value
        for name, value in config["Labels"].items()
    }
    assert labels["title"] == "comms-poller"
    assert labels["version"] == __version__
    assert labels["licenses"] == "MIT"
    assert labels["description"]
    ours = image.size - image.base_size
    print(f"\nour layers: {ours / 1e6:.0f} MB, on a base of {image.base_size / 1e6:.0f} MB")  # noqa: T201 - the report
    assert 0 < ours < 150e6


def test_the_inventory_lists_what_is_installed(image: Image) -> None:
    """CycloneDX: every distribution in the image by name and version, and nothing else."""
    sbom = image.sbom
    assert sbom["bomFormat"] == "CycloneDX"
    assert sbom["metadata"]["component"]["name"] == "comms-poller"
    listed = {(one["name"].lower(), one["version"]) for one in sbom["components"]}
    program = (
        "import json, importlib.metadata as m;"
        "print(json.dumps([(d.name.lower(), d.version) for d in m.distributions()]))"
    )
    done = image.run("python3", "-c", program)
    installed = {tuple(pair) for pair in json.loads(done.stdout)}
    assert listed | {("comms-poller", __version__)} == installed
    assert {name for name, _ in installed} >= {"psycopg", "sqlalchemy", "httpx"}
    assert not {name for name, _ in installed} & {"pip", "pytest", "cyclonedx-bom"}


def test_it_is_confined(image: Image) -> None:
    """It says its version as another user than root, and can write nowhere."""
    done = image.run(*image.command("--version"))
    assert (done.returncode, done.stdout) == (0, f"comms-poller {__version__}\n"), done.stderr
    program = (
        "import os; print(os.getpid(), os.getuid(), os.getgid(), os.getgroups()); open('/x', 'w')"
    )
    done = image.run("python3", "-c", program)
    assert done.stdout == "1 10001 10001 []\n"
    assert "Read-only file system" in done.stderr
    assert image.run("python3", "-m", "pip").returncode != 0
    programs = {file.name for file in (image.root / "opt/poller/bin").iterdir()}
    assert {name for name in programs if not name.startswith("python")} == {
        "poller",
        "comms-poller",
    }


@contextmanager
def served(image: Image, *arguments: str, **options: Any) -> Iterator[subprocess.Popen[str]]:  # noqa: ANN401 - as `start`
    """Run a daemon of the image, which must end by itself in the block."""
    process = image.start(*image.command(*arguments), **options)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def stop(process: subprocess.Popen[str]) -> tuple[list[str], str]:
    """Stop it as an engine does; returns its events and what it logged."""
    one = process_one(process.pid)
    assert one is not None
    os.kill(one, signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert '"event": "daemon.stopped"' in err
    return out.splitlines(), err


def variables(ports: Mapping[str, str]) -> dict[str, str]:
    """Set what a user sets, and listeners of its own, since the network is this machine's."""
    config = SimulatorConfig()
    return {
        "POLLER_API__BASE_URL": f"http://127.0.0.1:{ports['8480']}/v1",
        "TWILIO_ACCOUNT_SID": config.account_sid,
        "TWILIO_AUTH_TOKEN": config.auth_token,
        "POLLER_SERVER__LISTEN": f"127.0.0.1:{ports['8470']}",
        "POLLER_URL": f"http://127.0.0.1:{ports['8470']}",
    }


def test_it_lives_the_life_of_a_container(image: Image, data: Path) -> None:
    """Checked, started, healthy, stopped, started again on the same volume: nothing is missed."""
    ports = spare_ports(8480, 8470)
    environment = variables(ports)
    simulate = ("simulate", "--port", ports["8480"], "--speed", "10")
    with served(image, *simulate, environment=environment) as simulator:
        with httpx.Client(
            base_url=environment["POLLER_API__BASE_URL"],
            auth=(environment["TWILIO_ACCOUNT_SID"], environment["TWILIO_AUTH_TOKEN"]),
            transport=httpx.HTTPTransport(retries=8),
        ) as client:
            operation = send(client)
        checked = image.run(*image.command("check"), data=data, environment=environment)
        assert checked.returncode == 0, checked.stdout + checked.stderr
        with served(image, "run", data=data, environment=environment) as daemon:
            eventually(lambda: healthy(image, environment, daemon))
            added = image.run(*image.command("add", operation), environment=environment)
            assert added.returncode == 0, added.stderr
            first, _ = stop(daemon)
        assert (data / "poller.db").stat().st_uid == 10001
        again = ("run", "--until-idle")
        with served(image, *again, data=data, environment=environment) as daemon:
            out, err = daemon.communicate(timeout=60)
            assert daemon.returncode == 0, err
        one = process_one(simulator.pid)
        assert one is not None
        os.kill(one, signal.SIGTERM)
        simulator.communicate(timeout=30)
        assert simulator.returncode == 0
    events = [*first, *out.splitlines()]
    audit = Audit(allow_gaps=False, ended=True)
    assert (
        list(audit.check(number_lines("events", [f"{line}\n".encode() for line in events]))) == []
    )
    finals = [one["subject"] for one in map(json.loads, events) if one["data"]["final"]]
    assert finals == [operation]


def healthy(image: Image, environment: Mapping[str, str], daemon: subprocess.Popen[str]) -> bool:
    """Run the image's own health check."""
    if daemon.poll() is not None:
        raise AssertionError(daemon.communicate())
    _, *command = image.config["Healthcheck"]["Test"]
    return image.run(*command, environment=environment).returncode == 0


def send(client: httpx.Client) -> str:
    """Send in bulk; returns the operation's id."""
    message = {
        "to": [{"address": f"+1415555{n:04}", "channel": "PHONE"} for n in range(40)],
        "content": {"text": "Hello"},
    }
    answer = client.post("/Messages", json=message).raise_for_status()
    operation: str = answer.json()["operationId"]
    return operation
