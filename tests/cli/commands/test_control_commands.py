"""`poller add`, `list`, `forget`, `show`, `sinks`: what is asked of a daemon, and what is drawn."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer

from poller.cli.commands.add import add_operations
from poller.cli.commands.forget import forget_operations
from poller.cli.commands.group import Action
from poller.cli.commands.group import command as group_command
from poller.cli.commands.list import command as list_command
from poller.cli.commands.show import show_operation
from poller.cli.commands.sinks import show_sinks
from poller.cli.session import Target
from poller.control.errors import NoDaemon, Refused
from poller.text import format_instant
from poller.tracking.registration import Defaults, Registration
from poller.tracking.watch import Outcome, Phase, SortOrder
from tests.control.fake_daemon import (
    A,
    Asked,
    B,
    FakeDaemon,
    M,
    Reply,
    document,
    message_document,
    problem,
)
from tests.fakes.api import operation_id


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let standard output be a terminal of 80 columns."""
    monkeypatch.setattr("poller.cli.output.is_terminal", lambda: True)
    for module in ("commands.list", "operation_detail", "commands.sinks"):
        monkeypatch.setattr(f"poller.cli.{module}.is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")


def target(daemon: FakeDaemon) -> Target:
    """Speak to this daemon."""
    return Target(str(daemon.address))


def listed(daemon: FakeDaemon, **options: Any) -> int:  # noqa: ANN401 - options by name
    """Run `poller list`."""
    return list_command(url=str(daemon.address), **options)


def waiting(sink: str, **members: object) -> dict[str, object]:
    """Make a delivery that waits for its third attempt."""
    return {
        "sink": sink,
        "state": "waiting",
        "blockedBy": None,
        "sinkState": "failing",
        "sinkError": "answered 503",
        "attempts": 2,
        "lastStatus": 503,
        "lastError": "answered 503",
        "nextAttemptAt": "2026-11-22T10:00:04.000Z",
        "doneAt": None,
        **members,
    }


def timeline(number: int, *deliveries: dict[str, object]) -> dict[str, object]:
    """Make an event of a time line."""
    return {
        "id": f"event-{number}",
        "type": "operation.processing",
        "sequence": number,
        "time": "2026-11-22T10:00:00.000Z",
        "final": False,
        "status": "PROCESSING",
        "delta": {"delivered": 3},
        "reason": None,
        "deliveries": list(deliveries),
    }


def results_of(asked: Asked) -> Reply:
    """Register everything."""
    items = [
        {"id": one["id"], "status": 201, "phase": "active", "outcome": None}
        for one in asked.body["operations"]
    ]
    return Reply(body={"results": items})


@pytest.mark.usefixtures("here")
def test_many_are_added_in_several_requests(capsys: pytest.CaptureFixture[str]) -> None:
    """Up to 10,000 in one, and never more than the daemon takes bytes."""
    registrations = [
        Registration(id=operation_id(number), kind="messages") for number in range(10_001)
    ]
    labels = {f"{number:0128}": "x" * 256 for number in range(32)}
    heavy = [Registration(id=one.id, kind="emails", labels=labels) for one in registrations[:400]]
    for given, requests in ((registrations, 2), (heavy, 2)):
        with FakeDaemon(results_of) as daemon:
            code = add_operations(
                target(daemon), given, stdin=False, defaults=Defaults(), json_output=False
            )
        assert code == 0
        assert len(daemon.asked) == requests
        assert all(len(asked.body["operations"]) <= 10_000 for asked in daemon.asked)
        assert all(int(asked.headers["content-length"]) < 4 * 2**20 for asked in daemon.asked)
        printed = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
        assert printed == [[one.id, "watching"] for one in given]


@pytest.mark.usefixtures("here")
def test_nothing_to_add() -> None:
    """It is a mistake of usage."""
    with pytest.raises(typer.BadParameter, match="--stdin"):
        add_operations(Target(None), [], stdin=False, defaults=Defaults(), json_output=False)


@pytest.mark.usefixtures("here")
def test_a_refusal_stands_among_the_results(capsys: pytest.CaptureFixture[str]) -> None:
    """The others are added all the same; the exit code says so."""
    item = {"id": B, "status": 409, "problem": problem(409, "conflict", "two\nlines").body}
    body = {"results": [{"id": A, "status": 200, "phase": "active", "outcome": None}, item]}
    registrations = [Registration(id=name, kind="messages") for name in (A, B)]
    with FakeDaemon(lambda _: Reply(body=body)) as daemon:
        code = add_operations(
            target(daemon), registrations, stdin=False, defaults=Defaults(), json_output=False
        )
    assert code == 1
    assert capsys.readouterr().out == f"{A}\tknown\n{B}\trefused\ttwo lines; do this\n"


@pytest.mark.usefixtures("here")
def test_filters_are_passed_on() -> None:
    """As they were given: the daemon takes statuses in either case, and labels with `=`."""
    with FakeDaemon(lambda _: Reply(body={"operations": [], "next": None})) as daemon:
        listed(
            daemon,
            status=["processing"],
            kind=["emails"],
            phase=[Phase.ACTIVE],
            outcome=[Outcome.LOST],
            label=["campaign=a:b"],
            group="autumn",
            with_failures=True,
            sort=SortOrder.FAILED,
            limit=5,
        )
    assert daemon.asked[0].query == {
        "status": ["processing"],
        "kind": ["emails"],
        "phase": ["active"],
        "outcome": ["lost"],
        "label": ["campaign=a:b"],
        "group": ["autumn"],
        "withFailures": ["true"],
        "sort": ["failed"],
        "limit": ["6"],
    }


TOTALS = [
    {
        "value": value,
        "operations": 12,
        "watching": 3,
        "withFailures": 2,
        "recipients": 118_400,
        "done": 97_012,
        "failed": failed,
    }
    for value, failed in (("autumn-sale-for-members-in-the-north-and-in-the-east", 640), (None, 0))
]


@pytest.mark.usefixtures("here")
def test_sums_by_a_label(capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each value; the same filters as for a list."""
    answer = Reply(body={"totals": TOTALS, "omitted": 3})
    with FakeDaemon(lambda _: answer) as daemon:
        assert listed(daemon, by="label:campaign", with_failures=True, limit=2) == 0
    assert (daemon.asked[0].path, daemon.asked[0].query) == (
        "/v1/totals",
        {"withFailures": ["true"], "by": ["label:campaign"], "limit": ["2"]},
    )
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "CAMPAIGN\tENDED\tDONE\tFAILED\tOF DONE\tWITH FAILURES",
        f"{TOTALS[0]['value']}\t9/12\t97012/118400\t640\t0.7%\t2",
        "–\t9/12\t97012/118400\t0\t0.0%\t2",
    ]
    assert err == "poller: there are more; --limit is 2\n"


@pytest.mark.usefixtures("here", "on_terminal")
def test_sums_fit_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Long names and large numbers, in 80 columns."""
    with FakeDaemon(lambda _: Reply(body={"totals": TOTALS, "omitted": 0})) as daemon:
        assert listed(daemon, by="group") == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any("640" in line for line in lines)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "options", [{"by": "kind"}, {"by": "group", "sort": SortOrder.FAILED}], ids=["by", "sort"]
)
def test_sums_that_cannot_be_made(options: dict[str, Any]) -> None:
    """Said before the daemon is asked."""
    with FakeDaemon(lambda _: problem(500, "defect")) as daemon:
        with pytest.raises(typer.BadParameter):
            listed(daemon, **options)
        assert daemon.asked == []


def group_story(**members: object) -> dict[str, object]:
    """Make the document of a group of three."""
    counts = {"total": 3, "completed": 3, "canceled": 0, "lost": 0, "watching": 0}
    progress = {"total": 30_000, "done": 30_000, "failed": 1_250, "stages": {}}
    return {
        "name": "autumn",
        "state": "ended",
        "labels": {},
        "operations": counts,
        "expected": 3,
        "counters": {"total": 30_000, "failed": 1_250},
        "progress": progress,
        "createdAt": "2026-11-22T10:00:00Z",
        "sealedAt": "2026-11-22T10:00:00Z",
        "endedAt": "2026-11-22T11:00:00Z",
        "breakdown": None,
        "events": [],
        **members,
    }


@pytest.mark.usefixtures("here")
def test_what_failed_in_a_group_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    """The reasons of all members, and the members, the most failures first."""
    breakdown = {
        "errors": [
            {"code": 30003, "count": 1_000, "message": "Unreachable", "infoUrl": None},
            {"code": 30005, "count": 250, "message": None, "infoUrl": None},
        ],
        "messages": [],
        "complete": True,
    }
    member = document(A, stats={"total": 10, "delivered": 4, "failed": 6})

    def answer(request: Asked) -> Reply:
        if request.path.startswith("/v1/groups"):
            return Reply(body=group_story(breakdown=breakdown))
        return Reply(body={"operations": [member], "next": None})

    with FakeDaemon(answer) as daemon:
        assert group_command(Action.SHOW, "autumn", failed=True, url=str(daemon.address)) == 0
    assert daemon.asked[1].query == {"group": ["autumn"], "sort": ["failed"], "limit": ["101"]}
    lines = capsys.readouterr().out.splitlines()
    assert "messages\t30,000 of 30,000 done, 1,250 failed" in lines
    [reasons] = [line for line in lines if line.startswith("reasons\t")]
    assert "1,250 failed: 30003 Unreachable ×1,000, 30005" in reasons
    [row] = [line for line in lines if line.startswith(A)]
    assert "\t6\t" in row


@pytest.mark.usefixtures("here")
def test_a_list_shows_phase_and_outcome_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """How the watch stands is one column, how it ended another."""
    operations = [document(A), document(B, "COMPLETED", phase="ended", outcome="lost")]
    with FakeDaemon(lambda _: Reply(body={"operations": operations, "next": None})) as daemon:
        listed(daemon)
    header, *rows = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    columns = [dict(zip(header, row, strict=True)) for row in rows]
    shown = [(one["PHASE"], one["OUTCOME"]) for one in columns]
    assert shown == [("active", "–"), ("ended", "lost")]


@pytest.mark.usefixtures("here", "on_terminal")
def test_a_list_fits_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """The id stays whole in 80 columns; what is rare stands below it."""
    # in a moment, whatever the time is: "30m 03s ago" is longer than "in 9s"
    soon = format_instant(datetime.now(UTC) + timedelta(seconds=9))
    operations = [
        document(
            A,
            stats={"total": 10, "delivered": 4, "failed": 1},
            labels={"campaign": "autumn"},
            nextLookAt=soon,
        ),
        document(B, None, kind="emails", nextLookAt=soon),
        document(A, "COMPLETED", phase="ended", outcome="lost", nextLookAt=None),
        document(A, phase="forgotten", nextLookAt=None),
    ]
    with FakeDaemon(lambda _: Reply(body={"operations": operations, "next": None})) as daemon:
        assert listed(daemon) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["ID", "STATUS", "DONE", "FAILED", "NEXT", "LOOK"]
    assert lines[1].split()[:4] == [A, "processing", "5/10", "1"]
    assert lines[2] == "    campaign=autumn"
    assert lines[3].split()[:4] == [B, "waiting", "0/?", "–"]
    assert lines[4] == "    emails"
    assert lines[5].split()[1] == "lost"
    assert lines[6].split()[1] == "forgotten"
    assert max(map(len, lines)) <= 80


FALLBACK = (
    {"from": {"channel": "RCS"}, "status": "FAILED", "error": {"code": 61337}},
    {"from": {"channel": "SMS"}, "status": "DELIVERED", "error": None},
)
COUNTERS = {"attempts": 2, "failed": 1, "delivered": 1}


@pytest.mark.usefixtures("here", "on_terminal")
def test_a_list_tells_of_messages(capsys: pytest.CaptureFixture[str]) -> None:
    """By what became of them; a failed attempt before a delivered one is no failure."""
    ended = {"phase": "ended", "outcome": "completed", "nextLookAt": None}
    found = message_document("DELIVERED", *FALLBACK, counters=COUNTERS, labels={"a": "b"}, **ended)
    with FakeDaemon(lambda _: Reply(body={"operations": [found], "next": None})) as daemon:
        assert listed(daemon) == 0
    heading, row, below = capsys.readouterr().out.splitlines()
    assert heading.split()[:2] == ["ID", "STATUS"]
    assert row.split() == [M, "delivered", "1/1", "–", "–"]
    assert below == "    RCS failed 61337 → SMS delivered  a=b"


@pytest.mark.usefixtures("here", "on_terminal")
def test_a_trace_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is one."""
    trace = {
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "tracestate": "vendor=value",
    }
    for members in (trace, dict.fromkeys(trace)):
        found = {**document(A), "events": [], "earlierEvents": 0, "pruned": False, **members}
        with FakeDaemon(lambda _, body=found: Reply(body=body)) as daemon:  # type: ignore[misc]
            assert show_operation(target(daemon), A, events=2, json_output=False) == 0
        lines = capsys.readouterr().out.splitlines()
        shown = dict(line.split(maxsplit=1) for line in lines if line.startswith("trace"))
        assert shown == {name: value for name, value in members.items() if value}


@pytest.mark.usefixtures("here", "on_terminal")
def test_a_message_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """As a message, with its attempts in place of a progress, and its events by their names."""
    event = {**timeline(1), "type": "message.delivered", "delta": COUNTERS, "status": "DELIVERED"}
    story = message_document("DELIVERED", *FALLBACK, counters=COUNTERS, events=[event])
    with FakeDaemon(lambda _: Reply(body=story)) as daemon:
        assert show_operation(target(daemon), M, events=2, json_output=False) == 0
    out = capsys.readouterr().out
    assert f"message     {M}\n" in out
    assert "progress    RCS failed 61337 → SMS delivered\n" in out
    assert "#1   delivered" in out


@pytest.mark.usefixtures("here", "on_terminal")
def test_a_time_line_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """What arrived in a word, what did not with its reason, each event's id to copy."""
    first = timeline(1, waiting("app"), waiting("log", state="delivered"))
    second = timeline(
        2, waiting("app", state="blocked", blockedBy="event-1"), waiting("old", state="dead")
    )
    stats = {"total": 1000, "queued": 640, "delivered": 360}
    story = document(A, stats=stats, events=[first, second], earlierEvents=3)
    with FakeDaemon(lambda _: Reply(body=story)) as daemon:
        assert show_operation(target(daemon), A, events=2, json_output=False) == 0
    out = capsys.readouterr().out
    assert f"operation   {A}\n" in out
    assert "progress    360 of 1,000 done: 640 queued, 360 delivered\n" in out
    assert "#1   processing" in out
    assert "event-1\n" in out
    assert "     delivered to log\n" in out
    assert "     app: waiting, answered 503; attempt 3 " in out
    assert "     app: blocked, behind #1\n" in out
    assert "3 earlier events are left out; --events shows more\n" in out
    assert "replay event-2 --to old\n" in out


@pytest.mark.usefixtures("here", "on_terminal")
def test_sinks_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A table with spans; a sink that no settings name is said to be one."""
    app = {
        "name": "app",
        "state": "failing",
        "configured": True,
        "since": "2026-11-22T10:00:00.000Z",
        "failures": 2,
        "lastStatus": 503,
        "lastError": "answered 503",
        "nextAttempt": None,
        "refused": 2,
        "answered": 12,
        "waiting": 2,
        "dead": 0,
        "oldest": "2026-11-22T10:00:00.000Z",
    }
    sinks = [
        app,
        {**app, "name": "old", "configured": False},
        {**app, "name": "odd", "state": "rejecting"},
    ]
    with FakeDaemon(lambda _: Reply(body={"sinks": sinks})) as daemon:
        assert show_sinks(target(daemon), json_output=False) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "app failing" in out
    assert "old not" in out
    assert "odd rejectin" in out
    assert "503" in out


@pytest.mark.usefixtures("here")
def test_forgetting_stops_at_what_is_no_answer() -> None:
    """An unknown operation is named; a daemon in trouble ends it."""
    with FakeDaemon(lambda _: problem(503, "store")) as daemon, pytest.raises(Refused):
        forget_operations(target(daemon), [A], json_output=False)
    with FakeDaemon(lambda _: Reply(body=b"<html>")) as daemon, pytest.raises(NoDaemon):
        forget_operations(target(daemon), [A], json_output=False)


@pytest.mark.usefixtures("here")
def test_lines_are_read_as_they_come(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Standard input is a list of ids and registrations; a bad line is refused by its number."""
    path = tmp_path / "ids"
    path.write_text(f'{A}\n\n{{"id": "{B}", "kind": "emails"}}\n{{"id": 1}}\n')
    descriptor = os.open(path, os.O_RDONLY)
    monkeypatch.setattr("poller.cli.commands.add._STDIN", descriptor)
    try:
        with FakeDaemon(results_of) as daemon:
            code = add_operations(
                target(daemon),
                [],
                stdin=True,
                defaults=Defaults(kind="push-notifications", labels={"a": "b"}),
                json_output=True,
            )
    finally:
        os.close(descriptor)
    assert code == 1
    (asked,) = daemon.asked
    assert asked.body["operations"] == [
        {
            "id": A,
            "kind": "push-notifications",
            "labels": {"a": "b"},
            "breakdown": None,
            "group": None,
        },
        {"id": B, "kind": "emails", "labels": {"a": "b"}, "breakdown": None, "group": None},
    ]
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.get("line") for line in lines] == [4, None, None]
