"""The image, built from its Dockerfile without an engine, and its programs, run as in a container.

The Dockerfile's base is a Debian that mmdebstrap makes from the mirror of this machine's apt, with
Python and pip below /usr/local as the published base has them. It is kept in a cache for a week.
In the build pip finds wheels in a directory that is filled outside, and needs no network.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from tests.deploy.places import DEPLOY, ROOT

DOCKERFILE: Final = DEPLOY / "container/Dockerfile"
_CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "comms-poller"
# images of its own, apart from those of the developer
_BUILDAH: Final = ("buildah", "--root", str(_CACHE / "images"), "--runroot", "/run/comms-poller")
_TAG: Final = f"localhost/comms-poller:test-{os.getpid()}"
_WEEK: Final = 7 * 24 * 3600
_PIP: Final = "[global]\nno-index = true\nfind-links = /wheels\ndisable-pip-version-check = true\n"
_CONFINED: Final = """
mount --bind "$ROOT" "$ROOT" && mount -o remount,bind,ro "$ROOT" &&
mount -t proc proc "$ROOT/proc" && mount --rbind /dev "$ROOT/dev" &&
if [ -n "$DATA" ]; then mount --bind "$DATA" "$ROOT$VOLUME"; fi &&
exec setpriv --no-new-privs --bounding-set -all,+setuid,+setgid,+sys_chroot \\
  chroot --userspec "$OWNER" --groups '' "$ROOT" /usr/bin/env -i -C "$WORK" "$@"
"""

_UNSHARE: Final = ("unshare", "--mount", "--pid", "--fork", "--kill-child")


def missing() -> str | None:
    """Say what is missing to build and to run; None where nothing is."""
    if os.geteuid() != 0:
        return "building needs root"
    tools = ("buildah", "mmdebstrap", "apt-get", "unshare", "setpriv", "chroot")
    absent = [tool for tool in tools if shutil.which(tool) is None]
    return f"{', '.join(absent)} not found; tests/image.sh installs them" if absent else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A built image: where its files are, what an engine reads of it, and its sizes in bytes."""

    root: Path
    config: Mapping[str, Any]
    sbom: Mapping[str, Any]
    size: int
    base_size: int

    @property
    def environment(self) -> Mapping[str, str]:
        """Return the variables that it sets."""
        return dict(pair.split("=", 1) for pair in self.config["Env"])

    def command(self, *arguments: str) -> list[str]:
        """Return what an engine runs where these are the arguments; none are the image's own."""
        return [*self.config["Entrypoint"], *(arguments or self.config["Cmd"])]

    def start(
        self,
        *command: str,
        data: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start a command as the image's user in name spaces of its own, on a read-only root."""
        (volume,) = self.config["Volumes"]
        variables = {**self.environment, **(environment or {})}
        pairs = [f"{name}={value}" for name, value in variables.items()]
        return subprocess.Popen(
            [*_UNSHARE, "sh", "-c", _CONFINED, "sh", *pairs, *command],
            env={
                "PATH": os.environ["PATH"],
                "ROOT": str(self.root),
                "DATA": "" if data is None else str(data),
                "VOLUME": volume,
                "OWNER": self.config["User"],
                "WORK": self.config["WorkingDir"],
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(
        self,
        *command: str,
        data: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        process = self.start(*command, data=data, environment=environment)
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
        return subprocess.CompletedProcess(command, process.returncode, out, err)


@contextmanager
def built() -> Iterator[Image]:
    """Build the image and its inventory; they are removed at the end."""
    _CACHE.mkdir(parents=True, exist_ok=True)
    name = _base_name()
    _make_base(name)
    wheels = _wheels()
    tags = (_TAG, f"{_TAG}-sbom")
    containers: list[str] = []
    try:
        for tag, target in zip(tags, ([], ["--target", "sbom"]), strict=True):
            _buildah(
                "bud",
                "--isolation",
                "chroot",
                "--pull-never",
                "--format",
                "docker",
                "--layers",
                "--volume",
                f"{wheels}:/wheels:ro",
                "--file",
                str(DOCKERFILE),
                "--tag",
                tag,
                *target,
                str(ROOT),
            )
            containers.append(_buildah("from", "--pull-never", tag))
        root, inventory = (Path(_buildah("mount", each)) for each in containers)
        document = json.loads(_buildah("inspect", "--type", "image", _TAG))
        yield Image(
            root=root,
            config=document["Docker"]["config"],
            sbom=json.loads((inventory / "comms-poller.cdx.json").read_text()),
            size=_size(_TAG),
            base_size=_size(f"localhost/{name}"),
        )
    finally:
        for each in containers:
            _buildah("rm", each)
        for tag in tags:
            _done(*_BUILDAH, "rmi", tag)
        # the layers in between; the next build has another source
        _done(*_BUILDAH, "rmi", "--prune")


def _base_name() -> str:
    text = DOCKERFILE.read_text()
    (version,) = re.findall(r"^ARG PYTHON=(.+)$", text, re.MULTILINE)
    return f"python:{version}"


def _make_base(name: str) -> None:
    """Make the image that the Dockerfile names, unless one of this week is there."""
    stamp = _CACHE / f"base-{sha256((_PIP + name).encode()).hexdigest()[:16]}"
    known = _done(*_BUILDAH, "inspect", "--type", "image", f"localhost/{name}")
    if known.returncode == 0 and stamp.exists() and time.time() - stamp.stat().st_mtime < _WEEK:
        return
    suite = name.rpartition("-")[2]
    archive = _CACHE / f"base-{os.getpid()}.tar"
    configuration = _CACHE / f"pip-{os.getpid()}.conf"
    configuration.write_text(_PIP)
    try:
        _said(
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            "--include=python3,python3-venv,ca-certificates",
            "--dpkgopt=force-unsafe-io",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
            # the published base has its Python, with pip, below /usr/local
            '--customize-hook=chroot "$1" python3 -m venv /usr/local',
            f"--customize-hook=upload {configuration} /etc/pip.conf",
            suite,
            str(archive),
            _mirror(),
        )
        container = _buildah("from", "scratch")
        try:
            _buildah("add", "--quiet", container, str(archive), "/")
            path = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
            _buildah("config", "--env", f"PATH={path}", container)
            _buildah("commit", "--quiet", container, f"localhost/{name}")
        finally:
            _buildah("rm", container)
    finally:
        archive.unlink(missing_ok=True)
        configuration.unlink()
    stamp.touch()


def _mirror() -> str:
    """Return where this machine's apt gets Debian."""
    lines = _said("apt-get", "indextargets", "--format", "$(ORIGIN) $(COMPONENT) $(SITE)")
    sites = [line.split()[2] for line in lines.splitlines() if line.startswith("Debian main ")]
    assert sites, "apt has no lists of Debian; run apt-get update"
    return sites[0]


def _wheels() -> Path:
    """Fill a directory with what the build installs, by the pip of this machine as it is set up."""
    pinned = (ROOT / "constraints.txt").read_bytes() + (ROOT / "pyproject.toml").read_bytes()
    python = re.findall(r"\d+\.\d+", _base_name())[0]
    key = sha256(pinned + python.encode() + platform.machine().encode()).hexdigest()[:16]
    wheels = _CACHE / f"wheels-{key}"
    if wheels.exists():
        return wheels
    for old in _CACHE.glob("wheels-*"):
        shutil.rmtree(old, ignore_errors=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["postgres"],
        "cyclonedx-bom",
    ]
    unfinished = _CACHE / f"unfinished-{os.getpid()}"
    _said(
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--only-binary",
        ":all:",
        "--python-version",
        python,
        "--constraint",
        str(ROOT / "constraints.txt"),
        "--dest",
        str(unfinished),
        *wanted,
    )
    unfinished.rename(wheels)
    return wheels


def _size(tag: str) -> int:
    (found,) = json.loads(_buildah("images", "--json", tag))
    return _bytes(found["size"])


def _bytes(text: str) -> int:
    number, unit = text.split()
    return round(float(number) * {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9}[unit.upper()])


def _buildah(*arguments: str) -> str:
    return _said(*_BUILDAH, *arguments)


def _said(*command: str) -> str:
    """Run a tool, which must succeed; returns what it says."""
    done = _done(*command)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


def _done(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
