"""`poller demo` as a newcomer runs it: on a terminal, into a pipe, in a hostile environment."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from tests.fakes.forked import Forked
from tests.fakes.process import Poller, eventually
from tests.oracle import check_promises

pytestmark = pytest.mark.acceptance

HOSTILE = {
    "POLLER_NO_SUCH_SETTING": "1",
    "POLLER_CONFIG": "/nowhere/poller.toml",
    "POLLER_API__BASE_URL": "http://127.0.0.1:9/v1",
    "POLLER_STORE__URL": "sqlite:////nowhere/poller.db",
    "POLLER_SINKS": "nonsense",
    "TWILIO_ACCOUNT_SID": "",
    "TWILIO_AUTH_TOKEN": "not\none",
    "SSL_CERT_FILE": "/nowhere/roots.pem",
    **{
        name: "http://127.0.0.1:9"
        for proxy in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        for name in (proxy, proxy.lower())
    },
}


class Terminal:
    """A demo on a terminal of 80 columns; a context manager that kills it at the end."""

    def __init__(self, *, cwd: Path, environment: Mapping[str, str]) -> None:
        self._cwd = cwd
        self._environment = {"TERM": "xterm", "COLUMNS": "80", "LANG": "C.UTF-8", **environment}
        self.raw = b""

    def __enter__(self) -> Self:
        self._master, slave = os.openpty()
        self.process = Forked(
            "demo",
            cwd=self._cwd,
            env=self._environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            terminal=True,
        )
        os.close(slave)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.wait()
        os.close(self._master)

    @property
    def lines(self) -> list[str]:
        """What is on the screen, without colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.raw.decode()).splitlines()

    def wait(self) -> int:
        """Wait for its end; returns the exit code."""
        code = self.process.wait(150)
        self._reader.join()
        return code

    def _read(self) -> None:
        # the system's word for a terminal whose other end is closed is an error
        try:
            while data := os.read(self._master, 4096):
                self.raw += data
        except OSError:
            pass


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Give a directory that cannot be written; fail a demo that left anything anywhere."""
    (tmp_path / "tmp").mkdir()
    here = tmp_path / "here"
    here.mkdir(mode=0o500)
    yield here
    assert list(here.iterdir()) == []
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    """Give an environment in which much is set that must not matter."""
    return {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path / "tmp"), **HOSTILE}


@pytest.mark.slow
def test_two_at_once_run_to_their_ends(home: Path, environment: Mapping[str, str]) -> None:
    """One into a pipe, one on a terminal, whatever is set: exit 0, nothing left behind."""
    with (
        Poller("demo", cwd=home, environment=environment) as piped,
        Terminal(cwd=home, environment=environment) as terminal,
    ):
        assert piped.wait(150) == 0, piped.err
        assert terminal.wait() == 0, terminal.lines
    check_events(piped.events)
    check_screen(terminal.lines)
    assert b"\x1b[" in terminal.raw, "there are colours"
    said = "".join(piped.err)
    assert " simulate --operations 3" in said
    assert "\x1b" not in said


def check_events(events: list[dict[str, Any]]) -> None:
    """Check that standard output in a pipe holds three whole stories, and that of their group."""
    stories: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        stories[event["subject"]].append(event)
    assert len(stories) == 4
    check_promises(events)
    group = stories.pop("launch")
    assert [event["type"] for event in group[-2:]] == ["group.completed", "group.breakdown"]
    assert events[-2:] == group[-2:]
    types = {s[0]["data"]["labels"]["campaign"]: [e["type"] for e in s] for s in stories.values()}
    assert types["survey"][:2] == ["operation.scheduled", "operation.processing"]
    assert types["autumn"][-2:] == ["operation.completed", "operation.breakdown"]
    assert types["survey"][-1] == "operation.completed"
    assert types["coupon"][-1] == "operation.canceled"
    own = [event for event in events if event["subject"] in stories]
    assert {event["type"] for event in own[-2:]} == {"operation.completed", "operation.canceled"}
    (breakdown,) = (event["data"] for event in own if "breakdown" in event["data"])
    stats = breakdown["operation"]["stats"]
    errors = breakdown["breakdown"]["errors"]
    failed = stats["failed"] + stats["undelivered"]
    # `COMPLETED` comes before the last receipts, and the errors are read after it
    assert failed <= sum(one["count"] for one in errors) <= failed + stats["sent"]
    assert 15 < len(events) < 80


def check_screen(lines: list[str]) -> None:
    """Check that a terminal tells what happens, aligned, and what to try next."""
    first = next(number for number, line in enumerate(lines) if re.match(r"\d:\d\d  ", line))
    assert "simulated" in lines[0]
    assert first <= 5
    shown = [line for line in lines if re.match(r"\d:\d\d  ", line)]
    sends = [line for line in shown if "launch" not in line]
    assert len({line.index("/") for line in sends if "breakdown" not in line}) == 1
    breakdowns = [line for line in shown if "breakdown" in line]
    assert [line.split()[1] for line in breakdowns] == ["autumn", "launch"]
    assert all(" failed: 30003 Unreachable destination handset ×" in one for one in breakdowns)
    assert any("undelivered" in line for line in shown)
    assert any("scheduled" in line for line in shown)
    assert {line.split()[2] for line in sends[-2:]} == {"completed", "canceled"}
    assert [line.split()[1:3] for line in shown[-2:]] == [
        ["launch", "completed"],
        ["launch", "breakdown"],
    ]
    commands = [line.strip() for line in lines if line.startswith("  ")]
    assert f"{sys.executable} -m poller simulate --operations 3" in commands
    assert [line.split()[3] for line in commands if " run " in line or " watch " in line] == [
        "watch",
        "run",
    ]
    spilling = [line for line in lines if len(line) > 80 and sys.executable not in line]
    assert spilling == []


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["ctrl-c", "kill", "hang-up"],
)
def test_a_signal_ends_it(
    home: Path, environment: Mapping[str, str], number: signal.Signals, code: int
) -> None:
    """It cleans up, says nothing more, and exits as a shell expects."""
    with Terminal(cwd=home, environment=environment) as demo:
        eventually(lambda: any("progress" in line for line in demo.lines))
        demo.process.send_signal(number)
        assert demo.wait() == code
    assert "Traceback" not in demo.raw.decode()
    assert "simulate --operations" not in demo.raw.decode()


@pytest.mark.parametrize("with_stderr", [False, True])
def test_a_closed_pipe_ends_it_quietly(
    home: Path, environment: Mapping[str, str], *, with_stderr: bool
) -> None:
    """`poller demo | head -n 1` takes its line and is done."""
    demo = Forked(
        "demo",
        cwd=home,
        env=environment,
        stderr=subprocess.STDOUT if with_stderr else subprocess.PIPE,
    )
    assert demo.stdout is not None
    first = demo.stdout.readline()
    demo.stdout.close()
    if with_stderr:
        assert "simulated" in first
    else:
        assert json.loads(first)["type"] == "group.progress"
    if demo.stderr is not None:
        with demo.stderr:
            assert len(demo.stderr.read().splitlines()) == 4
    assert demo.wait(30) == 0


def test_without_an_output_it_says_so(home: Path, environment: Mapping[str, str]) -> None:
    """Standard output that is closed from the start is refused in one line."""
    shell = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-m", "poller", "demo"]
    done = subprocess.run(
        shell, cwd=home, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "poller: standard output is closed; start the demo with it open"
    ]
