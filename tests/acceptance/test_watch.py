"""`poller watch` through the real command line: lines down a pipe, bars on a terminal."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.api import TOKEN, FakeApi, Reply, envelope, operation, operation_id
from tests.fakes.forked import Forked
from tests.fakes.process import Poller, eventually, poller
from tests.fakes.terminal import Terminal

pytestmark = pytest.mark.acceptance

A, B, C = (operation_id(number) for number in range(1, 4))
FAST = {
    "POLLER_API__REQUESTS_PER_SECOND": "500",
    "POLLER_POLLING__MIN_INTERVAL": "20ms",
    "POLLER_POLLING__MAX_INTERVAL": "100ms",
    "POLLER_POLLING__PROGRESS_INTERVAL": "0s",
    "POLLER_POLLING__NOT_FOUND_GRACE": "200ms",
}
_PATIENCE = 30.0


@pytest.fixture
def api() -> Iterator[FakeApi]:
    """Give a scripted API."""
    with FakeApi() as server:
        yield server


def environment(api: FakeApi, **more: str) -> dict[str, str]:
    """Point a fast poller at the API."""
    return {**api.environment, **FAST, **more}


def script(api: FakeApi, name: str, end: str, **counters: int) -> str:
    """Script an operation that moves on at every look, to an end with these counters."""
    return api.script(
        name,
        [
            operation(name, "SCHEDULED", total=100, scheduled=100),
            operation(name, "PROCESSING", updated=1, total=100, queued=50, delivered=50),
            operation(name, "PROCESSING", updated=2, total=100, queued=10, delivered=90),
            operation(name, end, updated=3, created=None, total=100, **counters),
        ],
    )


def events(stdout: str) -> list[dict[str, Any]]:
    """Read lines of events."""
    return [json.loads(line) for line in stdout.splitlines()]


def test_down_a_pipe_it_prints_the_events_of_a_daemon(api: FakeApi, tmp_path: Path) -> None:
    """NDJSON, one final event each, 0 where all is well; nothing is left behind on the disk."""
    for name in (A, B):
        script(api, name, "COMPLETED", delivered=90, read=10)
    # one request for each answer of the script
    fetching = environment(api, POLLER_POLLING__SWEEP="off")
    done = poller(
        "watch", A, B, A, "--label", "campaign=autumn", cwd=tmp_path, environment=fetching
    )
    assert done.returncode == 0, done.stderr
    printed = events(done.stdout)
    for name in (A, B):
        own = [event for event in printed if event["subject"] == name]
        assert [event["sequence"] for event in own] == [f"{n:010}" for n in (1, 2, 3, 4)]
        assert [event["type"] for event in own] == [
            "operation.scheduled",
            "operation.processing",
            "operation.progress",
            "operation.completed",
        ]
        assert [event["data"]["final"] for event in own] == [False, False, False, True]
        assert own[0]["data"]["labels"] == {"campaign": "autumn"}
        assert own[0]["source"] == f"{api.base_url}/Messages/Operations/{name}"
        assert api.count(name) == 4
    assert len({event["id"] for event in printed}) == 8
    assert list(tmp_path.iterdir()) == []
    assert TOKEN not in done.stdout + done.stderr


def test_what_did_not_go_well_is_3(api: FakeApi, tmp_path: Path) -> None:
    """One operation of several that did not reach everybody is enough."""
    script(api, A, "COMPLETED", delivered=100)
    script(api, B, "COMPLETED", delivered=99, failed=1)
    done = poller("watch", A, B, cwd=tmp_path, environment=environment(api))
    assert done.returncode == 3, done.stderr


def test_what_does_not_exist_is_3_and_says_what_to_check(api: FakeApi, tmp_path: Path) -> None:
    """A wrong kind looks like this; the log asks."""
    done = poller("watch", A, cwd=tmp_path, environment=environment(api))
    assert done.returncode == 3
    (event,) = events(done.stdout)
    assert (event["type"], event["data"]["reason"]) == ("operation.lost", "not_found")
    assert "check the id, its kind and its account" in done.stderr


def test_the_kind_is_asked_for_where_it_is_said(api: FakeApi, tmp_path: Path) -> None:
    """`--kind emails` asks elsewhere."""
    script(api, A, "COMPLETED", delivered=90, opened=10)
    done = poller("watch", A, "--kind", "emails", cwd=tmp_path, environment=environment(api))
    assert done.returncode == 0, done.stderr
    assert all(path.startswith("/v1/Emails") for path in api.requests)
    assert {event["data"]["kind"] for event in events(done.stdout)} == {"emails"}


def test_the_timeout_is_4(api: FakeApi, tmp_path: Path) -> None:
    """What was seen until then has been printed."""
    api.script(A, [operation(A, "PROCESSING", total=1)])
    done = poller("watch", A, "--timeout", "1s", cwd=tmp_path, environment=environment(api))
    assert done.returncode == 4, done.stderr
    assert [event["type"] for event in events(done.stdout)] == ["operation.processing"]


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_are_1_with_one_message(
    api: FakeApi, tmp_path: Path, status: int
) -> None:
    """Before any good answer there is nothing to wait for."""
    api.override = Reply(status=status, body=envelope(20003, "Authenticate"))
    done = poller("watch", A, B, cwd=tmp_path, environment=environment(api))
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("poller: credentials refused: ")
    assert str(status) in line
    assert TOKEN not in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name operations and messages, or --group"),
        (["nonsense"], "is the id of no operation"),
        ([A, "--kind", "faxes"], "unknown kind"),
        ([A, "--timeout", "soon"], "is not a duration"),
        ([A, "--label", "campaign"], "has no ="),
        ([A, "--set", "polling.max_intervall=3s"], "max_interval"),
    ],
    ids=["none", "id", "kind", "timeout", "label", "setting"],
)
def test_bad_usage_is_2(api: FakeApi, tmp_path: Path, arguments: list[str], words: str) -> None:
    """Said before anything is asked."""
    done = poller("watch", *arguments, cwd=tmp_path, environment=environment(api))
    assert done.returncode == 2
    assert words in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
    assert api.requests == []


def test_missing_credentials_are_2(tmp_path: Path) -> None:
    """Named with the variables to set."""
    done = poller("watch", A, cwd=tmp_path, environment=FAST)
    assert done.returncode == 2
    assert "TWILIO_ACCOUNT_SID" in done.stderr


def test_an_unreachable_api_is_waited_for(api: FakeApi, tmp_path: Path) -> None:
    """It says so once, goes on, and finishes when the API is back."""
    api.override = Reply(status=502, body=b"<html>")
    with Poller("watch", A, cwd=tmp_path, environment=environment(api)) as watching:
        eventually(lambda: api.count(A) >= 3)
        script(api, A, "COMPLETED", delivered=100)
        api.override = None
        assert watching.wait() == 0
        assert len(watching.logged("watch.trouble")) == 1
        assert len(watching.logged("watch.recovered")) == 1
        assert watching.events[-1]["data"]["final"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_at_once(
    api: FakeApi, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """As a shell reports it, without a traceback, whatever is under way."""
    api.script(A, [operation(A, "PROCESSING", total=1)])
    with Poller("watch", A, cwd=tmp_path, environment=environment(api)) as watching:
        eventually(lambda: bool(watching.out))
        api.override = Reply(delay=25.0)
        answered = api.count(A)
        eventually(lambda: api.count(A) > answered)
        watching.signal(number)
        assert watching.wait(8.0) == code
        assert "Traceback" not in "".join(watching.err)


def test_events_are_printed_as_they_happen(api: FakeApi, tmp_path: Path) -> None:
    """A reader of the pipe need not wait for the end."""
    api.script(A, [operation(A, "PROCESSING", total=1)])
    with Poller("watch", A, cwd=tmp_path, environment=environment(api)) as watching:
        eventually(lambda: len(watching.out) == 1)
        api.script(A, [operation(A, "COMPLETED", updated=9, total=1, delivered=1)])
        assert watching.wait() == 0
        assert len(watching.events) == 2


def test_a_closed_pipe_ends_it_quietly(api: FakeApi, tmp_path: Path) -> None:
    """As `… | head -1` does, even though nothing more happens that could be written."""
    api.script(A, [operation(A, "PROCESSING", total=1)])
    reader, writer = os.pipe()
    variables = {"PATH": os.environ["PATH"], **environment(api)}
    with Forked("watch", A, cwd=tmp_path, env=variables, stdout=writer) as process:
        os.close(writer)
        assert os.read(reader, 65_536).startswith(b'{"specversion"')
        os.close(reader)
        _, said = process.communicate(timeout=_PATIENCE)
    assert (process.returncode, said) == (141, "")


def test_a_terminal_shows_bars_and_a_summary(api: FakeApi, tmp_path: Path) -> None:
    """A line for each operation with its last state, their sum below, no event and no log line."""
    script(api, A, "COMPLETED", delivered=100)
    script(api, B, "COMPLETED", delivered=97, failed=2, undelivered=1)
    script(api, C, "CANCELED", delivered=40, canceled=60)
    with Terminal("watch", A, B, C, cwd=tmp_path, environment=environment(api)) as terminal:
        assert terminal.wait() == 3, terminal.text
    picture = terminal.last_picture.splitlines()
    assert picture[0].split() == (
        "operation status done delivered undelivered failed canceled rate left".split()
    )
    rows = {line.split()[0]: line.split() for line in picture[1:4]}
    assert rows[f"…{A[-6:]}"][1] == "completed"
    assert rows[f"…{B[-6:]}"][-5:] == ["100/100", "97", "1", "2", "0"]
    assert rows[f"…{C[-6:]}"][-5:] == ["100/100", "40", "0", "0", "60"]
    assert picture[5].startswith(
        "3 operations: 2 completed, 1 canceled · "
        "237 delivered, 2 failed, 1 undelivered, 60 canceled · "
    )
    assert len(picture) == 6
    assert "specversion" not in terminal.text
    assert "Traceback" not in terminal.text
    assert TOKEN not in terminal.text


def test_a_terminal_asked_for_json_gets_events(api: FakeApi, tmp_path: Path) -> None:
    """`--json` beats the terminal."""
    script(api, A, "COMPLETED", delivered=100)
    with Terminal("watch", A, "--json", cwd=tmp_path, environment=environment(api)) as terminal:
        assert terminal.wait() == 0, terminal.text
    assert [event["subject"] for event in events(terminal.text)] == [A] * 4


def test_ctrl_c_leaves_the_last_state(api: FakeApi, tmp_path: Path) -> None:
    """130, a summary that says so, a cursor that can be seen."""
    api.script(A, [operation(A, "PROCESSING", total=100, delivered=40)])
    with Terminal("watch", A, cwd=tmp_path, environment=environment(api)) as terminal:
        terminal.read_until(lambda text: "40/100" in text)
        terminal.type(b"\x03")
        assert terminal.wait() == 130, terminal.text
        assert terminal.restored
    assert "1 operation: 1 processing · 40 delivered · " in terminal.last_picture
    assert terminal.text.rstrip().endswith("Interrupted.")
    assert "Traceback" not in terminal.text


def test_trouble_is_shown_below_the_bars(api: FakeApi, tmp_path: Path) -> None:
    """What is in the way stands in a line of its own, and goes when it is over."""
    api.script(
        A,
        [
            operation(A, "PROCESSING", total=100, delivered=40),
            Reply(status=429, headers={"retry-after": "2"}, body=envelope(20429, "Too many")),
            operation(A, "COMPLETED", updated=9, total=100, delivered=100),
        ],
    )
    with Terminal("watch", A, cwd=tmp_path, environment=environment(api)) as terminal:
        terminal.read_until(lambda text: "! account paused (429 Too many) · next request" in text)
        assert terminal.wait() == 0, terminal.text
    assert "account paused" not in terminal.last_picture
    assert "watch.trouble" not in terminal.text


def test_refused_credentials_leave_no_empty_bars(api: FakeApi, tmp_path: Path) -> None:
    """On a terminal, too, there is one message and exit code 1."""
    api.override = Reply(status=401, body=envelope(20003, "Authenticate"))
    with Terminal("watch", A, cwd=tmp_path, environment=environment(api)) as terminal:
        assert terminal.wait() == 1, terminal.text
    assert terminal.text.count("poller: credentials refused: ") == 1
    assert "1 operation:" not in terminal.text


def test_a_terminal_that_cannot_write_everything_shows_what_it_can(
    api: FakeApi, tmp_path: Path
) -> None:
    """An old encoding costs a few signs, not the view."""
    script(api, A, "COMPLETED", delivered=100)
    variables = environment(api, PYTHONIOENCODING="ascii")
    with Terminal("watch", A, cwd=tmp_path, environment=variables) as terminal:
        assert terminal.wait() == 0, terminal.text
    assert f"?{A[-6:]}" in terminal.last_picture


def test_only_as_many_bars_as_the_terminal_has_lines(api: FakeApi, tmp_path: Path) -> None:
    """The rest is counted; the last picture shows first what went wrong."""
    ids = [operation_id(number) for number in range(40)]
    for name in ids:
        api.script(name, [operation(name, "COMPLETED", total=100, delivered=100)])
    api.script(ids[37], [operation(ids[37], "COMPLETED", total=100, delivered=99, failed=1)])
    with Terminal("watch", *ids, cwd=tmp_path, environment=environment(api)) as terminal:
        assert terminal.wait() == 3, terminal.text
    picture = terminal.last_picture.splitlines()
    assert len(picture) <= 24
    assert any(line.startswith(f"…{ids[37][-6:]}") for line in picture)
    assert any(line == "and 24 more: 24 completed" for line in picture)
    assert "40 operations: 40 completed · 3,999 delivered, 1 failed" in picture[-1]
