"""The compose file against its schema, and its services as processes of this machine."""

import base64
import re
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from poller.settings import Settings, WebhookSinkSettings, load_settings
from tests.deploy.dockerfile import stages
from tests.deploy.places import DEPLOY, ROOT, relocated, spare_ports
from tests.fakes.process import Poller, eventually, poller
from tests.store.cluster import Cluster

COMPOSE = DEPLOY / "compose/compose.yaml"
SCALED = DEPLOY / "compose/scaled.yaml"
BIN = Path(sys.executable).parent
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


def run_application(
    examples: Path, variables: Mapping[str, Any]
) -> subprocess.CompletedProcess[str]:
    """Run the example application as its image does, to its end."""
    python, *arguments = stages(DEPLOY / "examples/Dockerfile")[0].command("CMD")
    assert python == "python"
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=examples,
        env=variables["app"]["environment"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def services(text: str) -> dict[str, Any]:
    """Read the services, with the variable that a user is asked for put in."""
    filled = re.sub(r"\$\{WEBHOOK_SECRET:\?[^}]*\}", SECRET, text)
    found: dict[str, Any] = yaml.safe_load(filled)["services"]
    assert "$" not in repr(found)
    return found


@pytest.fixture(scope="module")
def composed() -> Mapping[str, Any]:
    """Read the services as they are."""
    return services(COMPOSE.read_text())


@pytest.fixture(scope="module")
def settings(composed: Mapping[str, Any]) -> Settings:
    """Load what the poller's service sets."""
    variables = composed["poller"]["environment"] | {"POLLER_SECRETS_DIR": "/nowhere"}
    return load_settings(config=None, overrides=(), environ=variables).settings


@pytest.mark.parametrize(
    "command",
    [
        ["check-jsonschema", "--builtin-schema", "vendor.compose-spec"],
        ["yamllint", "--strict", "-c", str(ROOT / "tests/deploy/yamllint.yaml")],
    ],
    ids=["schema", "lint"],
)
def test_the_files_are_what_compose_reads(command: list[str]) -> None:
    """The specification's schema and a linter accept them."""
    program, *options = command
    done = subprocess.run(
        [BIN / program, *options, COMPOSE, SCALED], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_image_is_built_from_here(composed: Mapping[str, Any]) -> None:
    """Contexts and Dockerfiles are where the file says."""
    for name, service in composed.items():
        context = (COMPOSE.parent / service["build"]["context"]).resolve()
        assert context == ROOT, name
        assert (context / service["build"]["dockerfile"]).is_file(), name


def test_every_service_is_confined(composed: Mapping[str, Any]) -> None:
    """Nothing can write to its root, and nothing has a capability."""
    for service in composed.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_the_store_outlives_the_container(composed: Mapping[str, Any]) -> None:
    """The image's volume is a named one."""
    final = stages(DEPLOY / "container/Dockerfile")[-1]
    assert composed["poller"]["volumes"] == [f"state:{final.one('VOLUME')}"]


def test_stopping_has_the_time_that_it_may_take(
    composed: Mapping[str, Any], settings: Settings
) -> None:
    """The engine waits longer than the grace, an answer and an attempt at a webhook together."""
    (hook,) = (
        sink.timeout for sink in settings.sinks.values() if isinstance(sink, WebhookSinkSettings)
    )
    longest = settings.engine.shutdown_grace + settings.api.timeout + hook
    assert float(composed["poller"]["stop_grace_period"].removesuffix("s")) > longest


def test_two_pollers_share_a_database() -> None:
    """They are set alike, the database outlives its container, and both reach the application."""
    found = services(SCALED.read_text())
    first, second = found["poller-1"], found["poller-2"]
    assert first == second
    variables = first["environment"] | {"POLLER_SECRETS_DIR": "/nowhere"}
    loaded = load_settings(config=None, overrides=(), environ=variables).settings
    assert "://poller@database/poller" in loaded.store.url.get_secret_value()
    assert found["database"]["volumes"] == ["database:/var/lib/postgresql/data"]
    assert "5432" not in repr(found["database"].get("ports"))
    assert found["app"]["network_mode"] == "service:poller-1"
    assert variables["POLLER_SINKS__APP__URL"].startswith("http://poller-1:3000/")


@pytest.mark.acceptance
def test_the_services_work_together(tmp_path: Path) -> None:
    """Run as processes with their own commands and variables, the application hears the end."""
    ports = spare_ports(8480, 8470, 3000)
    text = relocated(COMPOSE.parent, tmp_path / "compose", ports) / "compose.yaml"
    here = text.read_text().replace("//simulator:", "//127.0.0.1:").replace("0.0.0.0", "127.0.0.1")
    variables = services(here)
    examples = relocated(DEPLOY / "examples", tmp_path / "examples", ports)
    listen = {"POLLER_SERVER__LISTEN": f"127.0.0.1:{ports['8470']}"}
    with (
        Poller(*variables["simulator"]["command"], cwd=tmp_path, environment={}) as simulator,
        Poller("run", cwd=tmp_path, environment={**variables["poller"]["environment"], **listen}),
    ):
        eventually(lambda: bool(simulator.out))
        form, program, *check = variables["poller"]["healthcheck"]["test"]
        assert (form, program) == ("CMD", "poller")
        eventually(lambda: poller(*check, cwd=tmp_path, environment=listen).returncode == 0)
        app = run_application(examples, variables)
    assert app.returncode == 0, app.stderr
    assert "operation.completed" in app.stdout


@pytest.mark.slow
@pytest.mark.acceptance
def test_two_pollers_work_together(tmp_path: Path, cluster: Cluster) -> None:
    """Run as processes on one database, the application hears the end whichever of them sees it."""
    ports = spare_ports(8480, 8470, 8471, 3000)
    text = relocated(SCALED.parent, tmp_path / "compose", ports) / "scaled.yaml"
    name = cluster.create()
    here = text.read_text().replace("0.0.0.0", "127.0.0.1")
    for host in ("simulator", "poller-1"):
        here = here.replace(f"//{host}:", "//127.0.0.1:")
    here = here.replace("postgresql://poller@database/poller", cluster.url(name))
    variables = services(here)
    examples = relocated(DEPLOY / "examples", tmp_path / "examples", ports)
    _, _, *check = variables["poller-1"]["healthcheck"]["test"]
    with ExitStack() as stack:
        simulator = stack.enter_context(
            Poller(*variables["simulator"]["command"], cwd=tmp_path, environment={})
        )
        eventually(lambda: bool(simulator.out))
        for number, port in (("1", "8470"), ("2", "8471")):
            listen = {"POLLER_SERVER__LISTEN": f"127.0.0.1:{ports[port]}"}
            environment = variables[f"poller-{number}"]["environment"] | listen
            (tmp_path / number).mkdir()
            stack.enter_context(Poller("run", cwd=tmp_path / number, environment=environment))
            eventually(
                lambda each=listen: poller(*check, cwd=tmp_path, environment=each).returncode == 0  # type: ignore[misc]
            )
        app = run_application(examples, variables)
    cluster.drop(name)
    assert app.returncode == 0, app.stderr
    assert "operation.completed" in app.stdout
