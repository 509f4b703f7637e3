"""The image's definition; tests/deploy/test_built_image.py builds it."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from poller import __version__
from poller.settings import load_settings
from tests.deploy.dockerfile import Stage, stages
from tests.deploy.places import DEPLOY, ROOT

DOCKERFILE = DEPLOY / "container/Dockerfile"
EXAMPLE = DEPLOY / "examples/Dockerfile"
HADOLINT = Path(sys.executable).with_name("hadolint")


@pytest.fixture(scope="module")
def build() -> Stage:
    """Read the stage that builds."""
    return stages(DOCKERFILE)[0]


@pytest.fixture(scope="module")
def final() -> Stage:
    """Read the stage that is the image."""
    return stages(DOCKERFILE)[-1]


@pytest.mark.parametrize("file", [DOCKERFILE, EXAMPLE], ids=["poller", "example"])
def test_hadolint_finds_nothing(file: Path) -> None:
    """No advice of the linter is left."""
    done = subprocess.run([HADOLINT, file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_copied_is_there_and_not_ignored(build: Stage) -> None:
    """The context that .dockerignore leaves has everything that either image copies."""
    wanted = [*build.copied, *stages(EXAMPLE)[0].copied]
    allowed = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    for each in wanted:
        assert (ROOT / each).exists(), each
        assert any(each == place or each.startswith(place + "/") for place in allowed), each


def test_it_runs_without_root_and_keeps_its_state_in_the_volume(final: Stage) -> None:
    """The user is a number other than 0, and the store lies in the volume."""
    user, _, group = final.one("USER").partition(":")
    assert int(user) > 0
    assert int(group) > 0
    loaded = load_settings(config=None, overrides=(), environ=final.environment)
    url = loaded.settings.store.url.get_secret_value()
    assert url == f"sqlite:///{final.one('VOLUME')}/poller.db"


def test_a_file_of_settings_can_name_another_store(final: Stage, tmp_path: Path) -> None:
    """What the image sets is a default: a secret or a poller.toml with `store.url` beats it."""
    url = "postgresql://poller@database/poller"
    (tmp_path / "poller_store__url").write_text(url)
    config = tmp_path / "poller.toml"
    config.write_text(f"[store]\nurl = '{url}'\n")
    for files in ({"POLLER_SECRETS_DIR": str(tmp_path)}, {"POLLER_CONFIG": str(config)}):
        environ = {**final.environment, **files}
        loaded = load_settings(
            config=config if "POLLER_CONFIG" in files else None, overrides=(), environ=environ
        )
        assert loaded.settings.store.url.get_secret_value().endswith("://poller@database/poller")


def test_process_one_is_the_daemon_itself(final: Stage) -> None:
    """No shell stands between: signals reach it, and there is nobody whose children stay behind."""
    assert final.command("ENTRYPOINT") == ["poller"]
    assert final.command("CMD") == ["run"]
    assert final.command("HEALTHCHECK") == ["poller", "health"]
    assert final.one("STOPSIGNAL") == "SIGTERM"


def test_nothing_is_installed_in_the_image(final: Stage) -> None:
    """What installs is removed, and what was built comes from the other stage."""
    (step,) = final.all("RUN")
    assert not re.search(r"\b(pip|apt|apt-get) install\b", step)
    assert "pip uninstall --yes" in step
    assert final.one("COPY").startswith("--from=build ")


def test_the_label_names_the_version(final: Stage) -> None:
    """A release that forgets it ends here."""
    labels = dict(pair.split("=", 1) for pair in shlex.split(final.one("LABEL")))
    assert labels["org.opencontainers.image.version"] == __version__
