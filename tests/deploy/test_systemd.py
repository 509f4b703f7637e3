"""The unit file, as systemd itself judges it, and the settings file that comes with it."""

import os
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from poller.settings import Settings, WebhookSinkSettings, load_settings

DEPLOYED = Path(__file__).parents[2] / "deploy/systemd"
UNIT = DEPLOYED / "comms-poller.service"
CONFIG = DEPLOYED / "poller.toml"
SYSTEM_UNITS = Path("/lib/systemd/system")
MOST_EXPOSED = 1.1
SECRETS = "/etc/comms-poller/secrets"

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is part of systemd"
)


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze in English."""
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *map(str, arguments)],  # noqa: S607 - where it is differs
        env={**os.environ, "LC_ALL": "C", "SYSTEMD_COLORS": "0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def unit() -> Mapping[str, Sequence[str]]:
    """Read the unit: for each directive its values in order."""
    values: dict[str, list[str]] = defaultdict(list)
    for line in UNIT.read_text().splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            values[name].append(value)
    return values


@pytest.fixture(scope="module")
def settings() -> Settings:
    """Load the settings file that is installed beside the unit, with credentials."""
    environ = {"POLLER_SECRETS_DIR": "/nowhere", "TWILIO_ACCOUNT_SID": "AC" + "0" * 32}
    return load_settings(config=CONFIG, overrides=(), environ=environ).settings


def seconds(value: str) -> float:
    """Read a time span of one unit."""
    number = value.removesuffix("min").removesuffix("s")
    return float(number) * (60 if value.endswith("min") else 1)


@needs_systemd
def test_systemd_verifies_the_unit(tmp_path: Path) -> None:
    """In a root where the program is installed, there is nothing to complain about."""
    shutil.copytree(SYSTEM_UNITS, tmp_path / "lib/systemd/system", symlinks=True)
    for program in ("opt/comms-poller/bin/poller", "bin/kill"):
        (tmp_path / program).parent.mkdir(parents=True)
        (tmp_path / program).touch(mode=0o755)
    place = tmp_path / "etc/systemd/system"
    place.mkdir(parents=True)
    shutil.copy(UNIT, place)
    done = analyze("verify", f"--root={tmp_path}", UNIT.name)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd
def test_the_service_is_hardly_exposed() -> None:
    """Beside the network it has nothing that an attacker could use."""
    done = analyze("security", "--offline=true", UNIT)
    (exposure,) = re.findall(r"exposure level for \S+: (\d+\.\d)", done.stdout)
    assert float(exposure) <= MOST_EXPOSED, done.stdout


def test_what_only_a_change_of_settings_mends_is_not_restarted(
    unit: Mapping[str, Sequence[str]],
) -> None:
    """Exit code 2 stops the service; anything else is tried again, for ever."""
    assert unit["Restart"] == ["on-failure"]
    assert unit["RestartPreventExitStatus"] == ["2"]
    assert unit["StartLimitIntervalSec"] == ["0"]


def test_stopping_has_the_time_that_it_may_take(
    unit: Mapping[str, Sequence[str]], settings: Settings
) -> None:
    """Systemd waits longer than the grace, an answer and an attempt at a webhook together."""
    hooks = [
        sink.timeout for sink in settings.sinks.values() if isinstance(sink, WebhookSinkSettings)
    ]
    longest = settings.engine.shutdown_grace + settings.api.timeout + max(hooks)
    (stop,) = unit["TimeoutStopSec"]
    assert seconds(stop) > longest


def test_every_webhook_has_its_secret(
    unit: Mapping[str, Sequence[str]], settings: Settings
) -> None:
    """The credentials bear the names that the settings read, and their files the same."""
    hooks = [name for name, sink in settings.sinks.items() if isinstance(sink, WebhookSinkSettings)]
    required = {f"poller_sinks__{name}__secret" for name in hooks}
    known = {"twilio_account_sid", "twilio_auth_token", "twilio_api_key", "twilio_api_secret"}
    optional = {*known, "poller_server__token"}
    loaded = dict(value.split(":", 1) for value in unit["LoadCredential"])
    assert loaded == {name: f"{SECRETS}/{name}" for name in required | optional}
    # an empty default lets a file be missing; an empty secret of a webhook would be refused
    assert set(unit["SetCredential"]) == {rf"{name}:\n" for name in optional}


def test_what_may_be_missing_reads_as_unset(
    unit: Mapping[str, Sequence[str]], tmp_path: Path
) -> None:
    """The defaults of the unit are no credentials, and no settings either."""
    for value in unit["SetCredential"]:
        name, _, content = value.partition(":")
        (tmp_path / name).write_text(content.encode().decode("unicode_escape"))
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    api = load_settings(config=CONFIG, overrides=(), environ=environ).settings.api
    assert (api.account_sid, api.auth_token, api.api_key, api.api_secret) == (None,) * 4
