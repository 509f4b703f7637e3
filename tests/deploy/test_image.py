"""The image's definition, and its steps in a clean directory: no engine is needed."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from poller import __version__
from poller.settings import load_settings
from tests.deploy.dockerfile import Stage, stages
from tests.deploy.namespaces import REASON, can_make_namespaces, process_one
from tests.deploy.places import DEPLOY, ROOT, spare_ports
from tests.fakes.api import FakeApi
from tests.fakes.process import eventually

DOCKERFILE = DEPLOY / "container/Dockerfile"
EXAMPLE = DEPLOY / "examples/Dockerfile"
HADOLINT = Path(sys.executable).with_name("hadolint")
CONFINED = """
exec unshare --mount --pid --fork --kill-child sh -c '
  mount --bind "$DATA" "$DATA" && mount -o remount,bind,ro / && cd "$DATA" &&
  exec setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs \\
    --bounding-set "$CAPS" --inh-caps "$CAPS" --ambient-caps "$CAPS" poller run'
"""
# the Python that runs this may lie in a directory of root alone
CAPS = "-all,+dac_read_search"


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


@pytest.fixture
def place() -> Iterator[Path]:
    """Give a directory that every user may enter, unlike pytest's."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.slow
@pytest.mark.acceptance
def test_the_built_environment_runs_as_it_is_deployed(
    build: Stage, final: Stage, place: Path
) -> None:
    """The build's own script, from the copied files alone; then run as a container would."""
    image = built(build, place)
    programs = {file.name for file in (image / "bin").iterdir()}
    assert {name for name in programs if not name.startswith("python")} == {
        "poller",
        "comms-poller",
    }
    packages = {file.name for file in image.glob("lib/python3*/site-packages/*")}
    assert packages >= {"poller", "psycopg"}
    assert not packages & {"pip", "setuptools", "wheel", "pytest", "hatchling"}
    assert not [file for file in packages if file.startswith("__editable__")]
    if not can_make_namespaces():
        pytest.skip(f"built, but not run: {REASON}")
    data = place / "data"
    data.mkdir()
    os.chown(data, 10001, 10001)
    run_confined(image, data, final.environment)
    assert (data / "poller.db").exists()


def built(build: Stage, place: Path) -> Path:
    """Run the build's steps where nothing is but what they copy; returns the environment."""
    source = place / "src"
    for each in build.copied:
        (source / each).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / each).is_dir():
            shutil.copytree(
                ROOT / each, source / each, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            target = source / each
            shutil.copy(ROOT / each, target)
    base = place / "base"
    subprocess.run([sys.executable, "-m", "venv", base], check=True)
    command = build.one("RUN")
    assert command == "sh deploy/container/build.sh /opt/poller"
    done = subprocess.run(
        ["/bin/sh", "-c", command.replace("/opt/poller", str(place / "image"))],
        cwd=source,
        env={**os.environ, "PYTHON": str(base / "bin/python")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("comms-poller ")
    return place / "image"


def run_confined(image: Path, data: Path, environment: Mapping[str, str]) -> None:
    """Run the daemon as the container does, ask how it is, and stop it with SIGTERM."""
    ports = spare_ports(8470)
    with FakeApi() as api:
        variables = {
            **{name: value for name, value in environment.items() if name != "PATH"},
            **api.environment,
            "PATH": f"{image / 'bin'}:{os.environ['PATH']}",
            "DATA": str(data),
            "CAPS": CAPS,
            "STATE_DIRECTORY": str(data),
            "POLLER_SERVER__LISTEN": f"127.0.0.1:{ports['8470']}",
            "POLLER_URL": environment["POLLER_URL"].replace("8470", ports["8470"]),
        }
        outside = subprocess.Popen(
            ["/bin/sh", "-c", CONFINED],
            env=variables,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            asked = ["poller", "health", "--ready"]
            eventually(
                lambda: (
                    outside.poll() is not None
                    or subprocess.run(
                        asked, env=variables, capture_output=True, check=False
                    ).returncode
                    == 0
                )
            )
            if (one := process_one(outside.pid)) is not None:
                os.kill(one, signal.SIGTERM)
            _, err = outside.communicate(timeout=30)
        finally:
            outside.kill()
            outside.wait()
    assert '"pid": 1,' in err, err
    assert '"event": "daemon.stopped"' in err, err
    assert outside.returncode == 0
