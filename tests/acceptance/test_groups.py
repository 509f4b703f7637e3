"""Groups through the real command line: registered, sealed, listed, and one end for all."""

import json
from pathlib import Path

import pytest

from tests.fakes.api import FakeApi, operation, operation_id
from tests.fakes.process import Poller, eventually, poller

pytestmark = pytest.mark.acceptance

A, B, C = (operation_id(number) for number in range(1, 4))
FAST = {
    "POLLER_API__REQUESTS_PER_SECOND": "500",
    "POLLER_POLLING__MIN_INTERVAL": "20ms",
    "POLLER_POLLING__MAX_INTERVAL": "100ms",
    "POLLER_POLLING__PROGRESS_INTERVAL": "0s",
}


def test_a_run_seals_its_group_when_all_are_registered(tmp_path: Path) -> None:
    """Of the command line and of standard input; then the group has one end, with the sums."""
    with FakeApi() as api:
        for name in (A, B, C):
            api.script(name, [operation(name, "COMPLETED", total=10, delivered=9, failed=1)])
        lines = f'{B}\n{{"id": "{C}", "group": "autumn"}}\n'
        arguments = (A, "--stdin", "--group", "autumn", "--seal", "--until-idle")
        done = poller(
            "run", *arguments, cwd=tmp_path, environment={**api.environment, **FAST}, stdin=lines
        )
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    [end] = [event for event in events if event["type"] == "group.completed"]
    assert end["subject"] == "autumn"
    assert end["data"]["operations"]["completed"] == 3
    assert end["data"]["stats"]["delivered"] == 27
    assert end["data"]["stats"]["failed"] == 3
    # also the first event of the group, which the command line's own registration makes
    of_group = [int(event["sequence"]) for event in events if event["subject"] == "autumn"]
    assert of_group == list(range(1, len(of_group) + 1))


def test_a_group_is_not_sealed_where_a_line_was_refused(tmp_path: Path) -> None:
    """Somebody corrects the line first; the log says how to seal it then."""
    with FakeApi() as api:
        api.script(A, [operation(A, "COMPLETED", total=1, delivered=1)])
        done = poller(
            *("run", "--stdin", "--group", "autumn", "--seal", "--until-idle"),
            cwd=tmp_path,
            environment={**api.environment, **FAST},
            stdin=f"{A}\nnot an id\n",
        )
    assert done.returncode == 3, done.stderr
    assert "group.completed" not in done.stdout
    assert "poller group seal autumn" in done.stderr


def test_groups_are_listed_shown_and_sealed(tmp_path: Path) -> None:
    """By way of a running daemon; what cannot be done says why."""
    with FakeApi() as api:
        api.script(A, [operation(A, "PROCESSING", total=10, queued=10)])
        environment = {
            **api.environment,
            **FAST,
            "POLLER_POLLING__MAX_INTERVAL": "1s",
            "POLLER_SERVER__LISTEN": f"unix:{tmp_path / 'poller.sock'}",
        }
        with Poller("run", cwd=tmp_path, environment=environment) as daemon:
            eventually(lambda: bool(daemon.logged("server.listening")))

            def say(*call: str, code: int = 0) -> str:
                done = poller(*call, cwd=tmp_path, environment=environment)
                assert done.returncode == code, done.stderr
                return done.stdout + done.stderr

            say("add", A, "--group", "autumn", "--label", "campaign=\x1b[2J")
            assert A in say("list", "--group", "autumn")
            assert "nothing found" in say("list", "--group", "winter")
            assert "autumn\topen\t0/1" in say("group", "list")
            assert "0 of 10 done" in say("group", "show", "autumn")
            for listed in (say("group", "list"), say("group", "show", "autumn")):
                assert "campaign=" in listed
                assert "\x1b" not in listed
            waits = say("group", "seal", "autumn", "--expected", "2")
            assert waits == "autumn is sealed when it has 2 members; it has 1\n"
            assert say("group", "seal", "autumn") == "autumn is sealed; members: 1\n"
            refused = say("add", B, "--group", "autumn", code=1)
            assert "autumn" in refused
            assert "no group nope" in say("group", "seal", "nope", code=1)
            say("group", "show", code=2)
            api.script(A, [operation(A, "COMPLETED", updated=9, total=10, delivered=10)])
            eventually(
                lambda: json.loads(say("group", "show", "autumn", "--json"))["state"] == "ended"
            )
