"""`poller watch` of messages, and what failed in operations: alone, and through a daemon."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.fakes.api import FakeApi, Reply, operation, operation_id
from tests.fakes.process import Poller, eventually, poller
from tests.fakes.terminal import Terminal

pytestmark = pytest.mark.acceptance

A: Final = operation_id(1)
M, N, G = (operation_id(number).replace("_operation_", "_message_") for number in range(2, 5))
FAST: Final = {
    "POLLER_API__REQUESTS_PER_SECOND": "500",
    "POLLER_POLLING__MIN_INTERVAL": "20ms",
    "POLLER_POLLING__MAX_INTERVAL": "100ms",
    "POLLER_POLLING__PROGRESS_INTERVAL": "0s",
}
EXPLAINED: Final = {"POLLER_POLLING__BREAKDOWN": "true"}
ADDRESS: Final = "+14155550100"


@pytest.fixture
def api() -> Iterator[FakeApi]:
    """Give a scripted API."""
    with FakeApi() as server:
        yield server


def environment(api: FakeApi, **more: str) -> dict[str, str]:
    """Point a fast poller at the API."""
    return {**api.environment, **FAST, **more}


@contextmanager
def daemon(variables: dict[str, str], directory: Path, *arguments: str) -> Iterator[Poller]:
    """Run a daemon that listens."""
    with Poller("run", *arguments, cwd=directory, environment=variables) as running:
        eventually(lambda: bool(running.logged("server.listening")))
        yield running


def attempt(channel: str, status: str, code: int | None = None) -> dict[str, Any]:
    """Make an attempt as the API shows it."""
    error = {"code": code, "message": "Message filtered.", "infoUrl": f"https://x.test/{code}"}
    return {
        "from": {"channel": channel},
        "to": [{"address": ADDRESS, "channel": "PHONE"}],
        "status": status,
        "error": None if code is None else error,
    }


def message(name: str, status: str, *attempts: dict[str, Any]) -> dict[str, Any]:
    """Make a message as the API shows it, with an address and a text."""
    return {
        "id": name,
        "status": status,
        "to": [{"address": ADDRESS, "channel": "PHONE"}],
        "content": {"text": "our secret offer"},
        "attempts": list(attempts),
    }


def script_fallback(api: FakeApi, name: str) -> None:
    """Script a message whose RCS attempt fails, and whose SMS is delivered."""
    failed = attempt("RCS", "FAILED", 61337)
    api.script(
        name,
        [
            message(name, "QUEUED"),
            message(name, "SENT", attempt("RCS", "SENT")),
            message(name, "SENT", failed, attempt("SMS", "SENT")),
            message(name, "DELIVERED", failed, attempt("SMS", "DELIVERED")),
        ],
    )


def script_failures(api: FakeApi) -> None:
    """Script the operation `A` with 3 failures, and its errors."""
    api.script(A, [operation(A, "COMPLETED", total=10, delivered=7, failed=3)])
    causes = [(30003, "Unreachable destination handset."), (30005, "Unknown destination.")]
    errors = [
        {"code": code, "message": text, "infoUrl": f"https://x.test/{code}", "context": f"to[{n}]"}
        for n, (code, text) in enumerate([causes[0], causes[0], causes[1]])
    ]
    pagination = {"next": None, "self": "x"}
    api.script("Errors", [{"errors": errors, "pagination": pagination}])
    api.script("Messages", [{"messages": [], "pagination": pagination}])


def events(stdout: str) -> list[dict[str, Any]]:
    """Read lines of events."""
    return [json.loads(line) for line in stdout.splitlines()]


def test_a_fallback_that_delivers_is_well(api: FakeApi, tmp_path: Path) -> None:
    """Each attempt that moves is shown; 0, though the first one failed; no address, no text."""
    script_fallback(api, M)
    done = poller("watch", M, cwd=tmp_path, environment=environment(api))
    assert done.returncode == 0, done.stderr
    printed = events(done.stdout)
    assert [event["type"] for event in printed] == [
        "message.queued",
        "message.sent",
        "message.progress",
        "message.delivered",
    ]
    changes = [
        [(one["attempt"], one["channel"], one["status"]) for one in event["data"]["changes"]]
        for event in printed
    ]
    assert changes == [
        [],
        [(1, "RCS", "SENT")],
        [(1, "RCS", "FAILED"), (2, "SMS", "SENT")],
        [(2, "SMS", "DELIVERED")],
    ]
    assert api.requests == [f"/v1/Messages/{M}"] * 4
    assert ADDRESS not in done.stdout + done.stderr
    assert "secret offer" not in done.stdout + done.stderr


def test_a_message_that_did_not_arrive_is_3(api: FakeApi, tmp_path: Path) -> None:
    """One of several is enough."""
    script_fallback(api, M)
    api.script(N, [message(N, "UNDELIVERED", attempt("SMS", "UNDELIVERED", 30007))])
    done = poller("watch", M, N, cwd=tmp_path, environment=environment(api))
    assert done.returncode == 3, done.stderr


@pytest.mark.parametrize(
    ("receipts", "code"),
    [(["DELIVERED", "READ"], 0), (["DELIVERED", "UNDELIVERED"], 3)],
)
def test_a_group_is_well_where_all_got_it(
    api: FakeApi, tmp_path: Path, receipts: list[str], code: int
) -> None:
    """Its receipts count, one a recipient."""
    api.script(G, [message(G, "GROUP")])
    body = {"receipts": [{"status": status} for status in receipts], "pagination": {"next": None}}
    api.script("Receipts", [body])
    done = poller("watch", G, cwd=tmp_path, environment=environment(api))
    assert done.returncode == code, done.stderr
    assert events(done.stdout)[-1]["data"]["message"]["stats"]["recipients"] == 2


def test_another_kind_of_a_message_is_2(api: FakeApi, tmp_path: Path) -> None:
    """Said before anything is asked, with what to do."""
    variables = environment(api)
    done = poller("watch", M, "--kind", "emails", cwd=tmp_path, environment=variables)
    assert done.returncode == 2
    assert "leave kind out" in " ".join(done.stderr.replace("│", " ").split())
    assert api.requests == []


def test_what_failed_is_read_without_a_daemon(api: FakeApi, tmp_path: Path) -> None:
    """With `polling.breakdown` the last event is the breakdown; without it the end is."""
    script_failures(api)
    plain = poller("watch", A, cwd=tmp_path, environment=environment(api))
    assert plain.returncode == 3
    assert [event["type"] for event in events(plain.stdout)] == ["operation.completed"]
    variables = environment(api, **EXPLAINED)
    done = poller("watch", A, cwd=tmp_path, environment=variables)
    assert done.returncode == 3, done.stderr
    end, breakdown = events(done.stdout)
    assert (end["data"]["final"], breakdown["type"]) == (True, "operation.breakdown")
    assert [(one["code"], one["count"]) for one in breakdown["data"]["breakdown"]["errors"]] == [
        (30003, 2),
        (30005, 1),
    ]


def test_a_terminal_shows_attempts_and_reasons(api: FakeApi, tmp_path: Path) -> None:
    """Operations as bars, messages as their attempts, below them what failed, and sums apart."""
    script_failures(api)
    script_fallback(api, M)
    api.script(N, [message(N, "FAILED", attempt("SMS", "FAILED", 30007))])
    variables = environment(api, **EXPLAINED)
    with Terminal("watch", A, M, N, cwd=tmp_path, environment=variables) as terminal:
        assert terminal.wait() == 3, terminal.text
    picture = terminal.last_picture.splitlines()
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in picture if line[:1] == "…"}
    assert rows[f"…{M[-6:]}"] == "delivered RCS failed 61337 → SMS delivered"
    assert rows[f"…{N[-6:]}"] == "failed SMS failed 30007 Message filtered"
    assert picture[-3] == (
        f"…{A[-6:]}  3 failed: 30003 Unreachable destination handset ×2, "
        "30005 Unknown destination ×1"
    )
    operations, counts, messages, _ = picture[-1].split(" · ")
    assert (operations, counts) == ("1 operation: 1 completed", "7 delivered, 3 failed")
    assert messages in {"2 messages: 1 delivered, 1 failed", "2 messages: 1 failed, 1 delivered"}
    assert "Traceback" not in terminal.text


def test_messages_are_followed_at_the_daemon(api: FakeApi, tmp_path: Path) -> None:
    """As the daemon emitted them; their attempts are counted as it counts them."""
    api.script(M, [message(M, "SENT", attempt("RCS", "SENT"))])
    listen = f"unix:{tmp_path / 'poller.sock'}"
    own = {"POLLER_SERVER__LISTEN": listen}
    with daemon(environment(api, **own), tmp_path, M) as running:
        eventually(lambda: len(running.events) == 1)
        with Terminal("watch", M, cwd=tmp_path, environment=own) as terminal:
            terminal.read_until(lambda text: "RCS sent" in text)
            script_fallback(api, M)
            assert terminal.wait() == 0, terminal.text
        assert "RCS failed 61337 → SMS delivered" in terminal.last_picture
        done = poller("watch", M, cwd=tmp_path, environment=own)
        assert (done.returncode, events(done.stdout)) == (0, running.events)
        assert running.stop() == 0


def test_the_daemons_breakdown_is_waited_for(api: FakeApi, tmp_path: Path) -> None:
    """Its end is reported, its errors are still read: `watch` ends after the breakdown."""
    script_failures(api)
    api.script("Errors", [Reply(status=500)])
    listen = f"unix:{tmp_path / 'poller.sock'}"
    own = {"POLLER_SERVER__LISTEN": listen}
    with daemon(environment(api, **own, **EXPLAINED), tmp_path, A) as running:
        eventually(lambda: len(running.events) == 1)
        with Terminal("watch", A, cwd=tmp_path, environment=own) as terminal:
            terminal.read_until(lambda text: "explaining" in text)
            script_failures(api)
            assert terminal.wait() == 3, terminal.text
        assert "3 failed: 30003 Unreachable destination handset ×2" in terminal.last_picture
        # the store has it before standard output
        eventually(lambda: len(running.events) == 2)
        assert running.events[1]["type"] == "operation.breakdown"
        # a later watch shows all of it as well
        again = poller("watch", A, cwd=tmp_path, environment=own)
        assert (again.returncode, events(again.stdout)) == (3, running.events)
        assert running.stop() == 0


def test_no_breakdown_is_waited_for_in_vain(api: FakeApi, tmp_path: Path) -> None:
    """A daemon that reads none says so, and `watch` ends with the end."""
    api.script(A, [operation(A, "PROCESSING", total=10, delivered=4)])
    listen = f"unix:{tmp_path / 'poller.sock'}"
    own = {"POLLER_SERVER__LISTEN": listen}
    with daemon(environment(api, **own), tmp_path, A) as running:
        eventually(lambda: len(running.events) == 1)
        with Poller("watch", A, cwd=tmp_path, environment=own) as watching:
            eventually(lambda: len(watching.out) == 1)
            api.script(A, [operation(A, "COMPLETED", updated=9, total=10, failed=10)])
            assert watching.wait() == 3, watching.err
        assert watching.events == running.events
        assert running.stop() == 0
