"""`poller simulate` through the real command line, and its printed lines in a real shell."""

import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from poller.cli.commands.simulate import expected_samples
from tests.fakes.process import Poller, eventually, poller

pytestmark = pytest.mark.acceptance

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="the lines use curl")

PATH = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
ENVIRONMENT = f"{sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"
LAST = "watch"
"""A word of the last command that is printed."""


def printed(simulator: Poller, *, last: str = LAST) -> str:
    """Wait until everything is printed."""
    eventually(lambda: any(last in line for line in simulator.out))
    return "".join(simulator.out)


def shell(
    script: str, *, cwd: Path, code: int = 0, environment: Mapping[str, str] | None = None
) -> str:
    """Run lines in a POSIX shell; returns what it said."""
    done = subprocess.run(
        ["/bin/sh", "-u", "-c", script],
        cwd=cwd,
        env={**PATH, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def exports(lines: str) -> str:
    """Return the lines that point a client at the simulator."""
    return "\n".join(line for line in lines.splitlines() if line.startswith("export "))


def ends(events: str) -> list[dict[str, Any]]:
    """Return the final events among these lines."""
    lines = [json.loads(line) for line in events.splitlines()]
    return [event for event in lines if event["data"]["final"]]


@needs_curl
def test_the_printed_lines_work_in_a_shell(tmp_path: Path) -> None:
    """Pasted, they send; the id in the answer can be watched to its end with the same exports.

    Though the shell sends everything through a proxy, they keep these requests away from it.
    """
    proxy = {"http_proxy": "http://127.0.0.1:9"}
    options = ("--port", "0", "--speed", "30", "--fate", "smooth")
    with Poller("simulate", *options, cwd=tmp_path, environment=proxy) as simulator:
        lines = printed(simulator)
        answer = json.loads(shell(lines, cwd=tmp_path, environment=proxy))
        name = answer["operationId"]
        exported = f"{exports(lines)}\n{ENVIRONMENT}"
        variables = json.loads(shell(exported, cwd=tmp_path, environment=proxy))
        done = poller("run", "--until-idle", name, cwd=tmp_path, environment=variables)
        (end,) = ends(done.stdout)
        assert simulator.stop() == 0
    assert (end["subject"], end["type"]) == (name, "operation.completed")
    assert end["source"] == answer["operationLocation"]
    assert simulator.err == []


@needs_curl
def test_sample_operations_can_be_watched(tmp_path: Path) -> None:
    """With `--operations` the last command printed watches them; the demo foretells their ids."""
    options = ("--port", "0", "--speed", "30", "--operations", "3", "--recipients", "40")
    _, foretold = expected_samples(3)
    with Poller("simulate", *options, cwd=tmp_path, environment={}) as simulator:
        lines = printed(simulator, last=foretold[-1])
        # 3: some were not reached, one is canceled
        said = shell(lines, cwd=tmp_path, code=3)
        assert simulator.stop() == 0
    _, _, events = said.partition("}")  # before it the answer to the curl
    assert {end["subject"]: end["type"] for end in ends(events)} == {
        foretold[0]: "operation.completed",
        foretold[1]: "operation.completed",
        foretold[2]: "operation.canceled",
    }


def test_faults_are_served(tmp_path: Path) -> None:
    """The rates reach the server: a poller meets them and gets through."""
    options = ("--port", "0", "--speed", "30", "--operations", "1", "--recipients", "40")
    faults = (
        "--rate-500",
        "0.2",
        "--rate-broken",
        "0.2",
        "--rate-429",
        "0.2",
        "--retry-after",
        "0",
    )
    _, (name,) = expected_samples(1)
    with Poller("simulate", *options, *faults, cwd=tmp_path, environment={}) as simulator:
        lines = exports(printed(simulator, last=name))
        variables = json.loads(shell(f"{lines}\n{ENVIRONMENT}", cwd=tmp_path))
        done = poller("run", "--until-idle", name, cwd=tmp_path, environment=variables)
        (end,) = ends(done.stdout)
        assert simulator.stop() == 0
    assert end["type"] == "operation.completed"


def test_ctrl_c_ends_it_without_a_word(tmp_path: Path) -> None:
    """SIGINT is how a server on a terminal is ended: exit 0."""
    with Poller("simulate", "--port", "0", cwd=tmp_path, environment={}) as simulator:
        printed(simulator)
        simulator.signal(signal.SIGINT)
        assert simulator.wait() == 0
    assert simulator.err == []


def test_a_taken_port_is_one_message(tmp_path: Path) -> None:
    """It names the port and what to do; exit 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = poller("simulate", "--port", port, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert f"127.0.0.1:{port}" in line
    assert "--port" in line


def test_a_host_that_is_none_is_one_message(tmp_path: Path) -> None:
    """It names the option; exit 1, for a name may be known tomorrow."""
    done = poller("simulate", "--host", "no.such.host.invalid", cwd=tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "--host" in line


def test_every_address_is_shown_as_one_that_can_be_asked(tmp_path: Path) -> None:
    """`--host 0.0.0.0` listens everywhere; what is printed points at this machine."""
    options = ("--host", "0.0.0.0", "--port", "0")
    with Poller("simulate", *options, cwd=tmp_path, environment={}) as simulator:
        assert "POLLER_API__BASE_URL=http://127.0.0.1:" in printed(simulator)
        assert simulator.stop() == 0
