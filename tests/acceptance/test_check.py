"""`poller check` through the real command line: before a daemon, beside one, on a terminal."""

import base64
import contextlib
import json
import os
import pty
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.api import TOKEN, FakeApi, Reply, envelope
from tests.fakes.forked import Forked
from tests.fakes.process import Poller, eventually, poller
from tests.fakes.receiver import Receiver

pytestmark = pytest.mark.acceptance

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


@pytest.fixture
def api() -> Iterator[FakeApi]:
    """Give an API that has no operations yet."""
    with FakeApi() as server:
        server.script("Operations", [{"operations": [], "meta": {}}])
        yield server


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Give a receiver that checks signatures."""
    with Receiver(secret=SECRET) as server:
        yield server


def environment(api: FakeApi, receiver: Receiver) -> dict[str, str]:
    """Configure the three sinks."""
    return {
        **api.environment,
        "POLLER_SINKS__OUT__TYPE": "stdout",
        "POLLER_SINKS__LOG__TYPE": "file",
        "POLLER_SINKS__LOG__PATH": "events.ndjson",
        "POLLER_SINKS__APP__TYPE": "webhook",
        "POLLER_SINKS__APP__URL": receiver.url,
        "POLLER_SINKS__APP__SECRET": SECRET,
    }


def test_before_the_first_start(api: FakeApi, receiver: Receiver, tmp_path: Path) -> None:
    """The report is on stdout, nothing on stderr, nothing posted, and no file is left behind."""
    done = poller("check", cwd=tmp_path, environment=environment(api, receiver))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\neverything is in order\n")
    assert "sinks.app.secret\t**********\tenvironment variable POLLER_SINKS__APP__SECRET" in (
        done.stdout
    )
    assert TOKEN not in done.stdout
    assert SECRET not in done.stdout
    assert receiver.received == []
    assert list(tmp_path.iterdir()) == []


def test_beside_a_running_daemon(api: FakeApi, receiver: Receiver, tmp_path: Path) -> None:
    """What the daemon holds is in use, which is fine, and the daemon does not mind."""
    variables = environment(api, receiver)
    with Poller("run", cwd=tmp_path, environment=variables) as daemon:
        eventually(lambda: bool(daemon.logged("daemon.started")))
        done = poller("check", "--json", "--send", cwd=tmp_path, environment=variables)
        assert daemon.stop() == 0
    assert done.returncode == 0, done.stderr
    messages = {found["subject"]: found["message"] for found in json.loads(done.stdout)["checks"]}
    assert f"in use by the running daemon (pid {daemon.process.pid})" in messages["store"]
    assert "in use by the running daemon" in messages["sinks.log"]
    assert "answered 204" in messages["sinks.app"]
    (request,) = receiver.received
    assert (request.signature, request.event["type"]) == ("good", "poller.test")
    assert tmp_path.joinpath("events.ndjson").read_bytes() == b""


def test_several_problems_at_once(api: FakeApi, receiver: Receiver, tmp_path: Path) -> None:
    """Each problem is a line on stderr with its fix, where stdout goes to a program."""
    api.override = Reply(status=401, body=envelope(20003, "Authenticate"))
    variables = environment(api, receiver) | {"POLLER_STORE__URL": "sqlite:///absent/poller.db"}
    receiver.stop()
    done = poller("check", "--send", cwd=tmp_path, environment=variables)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert [line.split(":")[1].strip() for line in lines] == ["api", "store", "sinks.app"]
    assert all(". Fix: " in line for line in lines)
    assert done.stdout.endswith("\n3 problems\n")


def test_missing_credentials(tmp_path: Path) -> None:
    """Without credentials it is usage, and the message names the variables."""
    done = poller("check", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("poller: api: no credentials. Fix: set TWILIO_ACCOUNT_SID and ")
    assert len(done.stderr.splitlines()) == 1


def test_on_a_terminal(api: FakeApi, tmp_path: Path) -> None:
    """On a terminal the report is drawn, and problems are shown once."""
    variables = api.environment | {
        "POLLER_STORE__URL": "sqlite:///absent/poller.db",
        "NO_COLOR": "1",
    }
    # a daemon of the developer's own may listen at the default address
    variables |= {"POLLER_SERVER__LISTEN": f"unix:{tmp_path}/absent.sock"}
    ours, theirs = pty.openpty()
    try:
        variables = {"PATH": os.environ["PATH"], "TERM": "xterm", "COLUMNS": "120", **variables}
        with Forked("check", cwd=tmp_path, env=variables, stdout=theirs) as done:
            _, said = done.communicate(timeout=60)
    finally:
        os.close(theirs)
        screen = _rest(ours)
    assert (done.returncode, said) == (2, "")
    lines = [line.rstrip() for line in screen.splitlines()]
    assert any(line.split()[:2] == ["polling.sweep", '"auto"'] for line in lines)
    assert any(line.split()[:2] == ["✓", "api"] for line in lines)
    assert any(line.split()[:2] == ["✗", "store"] for line in lines)
    assert "Fix: the file and its directory must be writable for this user" in screen
    assert "1 problem" in lines[-1]


def _rest(terminal: int) -> str:
    """Read what is left on a terminal whose other side is closed, and close this one."""
    read = b""
    with contextlib.suppress(OSError):  # so a terminal says that it has ended
        while block := os.read(terminal, 1 << 16):
            read += block
    os.close(terminal)
    return read.decode()


def test_version(tmp_path: Path) -> None:
    """Every command shows its version without looking at anything."""
    done = poller("check", "--version", cwd=tmp_path)
    assert (done.returncode, done.stdout[:13]) == (0, "comms-poller ")
