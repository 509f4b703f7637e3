"""The commands that speak to a running daemon, through the real command line."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.api import FakeApi, Reply, envelope, operation, operation_id
from tests.fakes.process import Poller, eventually, poller
from tests.fakes.receiver import Answer, Receiver

pytestmark = pytest.mark.acceptance

A, B, C, D = (operation_id(number) for number in range(1, 5))
FAST = {
    "POLLER_API__REQUESTS_PER_SECOND": "500",
    "POLLER_POLLING__MIN_INTERVAL": "20ms",
    "POLLER_POLLING__MAX_INTERVAL": "100ms",
    "POLLER_POLLING__PROGRESS_INTERVAL": "0s",
    "POLLER_POLLING__NOT_FOUND_GRACE": "200ms",
}
SECRET = "token-of-the-control-api"


@pytest.fixture
def api() -> Iterator[FakeApi]:
    """Give a scripted API."""
    with FakeApi() as server:
        yield server


def environment(api: FakeApi, directory: Path, **more: str) -> dict[str, str]:
    """Point a fast poller at the API, that listens at a socket in `directory`."""
    listen = f"unix:{directory / 'poller.sock'}"
    return {**api.environment, **FAST, "POLLER_SERVER__LISTEN": listen, **more}


@contextmanager
def daemon(variables: Mapping[str, str], directory: Path, *arguments: str) -> Iterator[Poller]:
    """Run a daemon that listens."""
    with Poller("run", *arguments, cwd=directory, environment=variables) as running:
        eventually(lambda: bool(running.logged("server.listening")))
        yield running


def json_lines(text: str) -> list[dict[str, Any]]:
    """Read lines of JSON."""
    return [json.loads(line) for line in text.splitlines()]


def cells(text: str) -> list[list[str]]:
    """Read lines of cells apart by tabs."""
    return [line.split("\t") for line in text.splitlines()]


def test_what_is_added_is_watched_listed_shown_and_forgotten(api: FakeApi, tmp_path: Path) -> None:
    """The life of an operation by way of the commands; every answer also as JSON."""
    api.script(A, [operation(A, "PROCESSING", total=100, delivered=40)])
    api.script(B, [operation(B, "COMPLETED", total=10, delivered=9, failed=1)])
    # nothing changes while the commands run
    variables = environment(api, tmp_path, POLLER_POLLING__MAX_INTERVAL="10s")
    with daemon(variables, tmp_path) as running:

        def say(*call: str, code: int = 0, stdin: str | None = None) -> tuple[str, str]:
            done = poller(*call, cwd=tmp_path, environment=variables, stdin=stdin)
            assert done.returncode == code, done.stderr
            assert "Traceback" not in done.stderr
            return done.stdout, done.stderr

        added, _ = say("add", A, "--label", "campaign=autumn")
        assert cells(added) == [[A, "watching"]]
        lines = f'{B}\nnope\n{{"id": "{A}", "labels": {{"team": "a"}}}}\n'
        added, _ = say("add", "--stdin", "--json", stdin=lines, code=1)
        bad, new, known = json_lines(added)
        assert (bad["line"], bad["status"]) == (2, 422)
        assert (new["id"], new["status"]) == (B, 201)
        assert (known["id"], known["status"]) == (A, 200)
        eventually(lambda: len(running.events) >= 2)
        assert cells(say("add", B)[0]) == [[B, "known", "completed"]]

        listed, _ = say("list")
        rows = {row[0]: row[1:] for row in cells(listed)[1:]}
        assert rows[A][:6] == ["messages", "PROCESSING", "active", "–", "40/100", "0"]
        assert rows[A][7] == "campaign=autumn team=a"
        assert rows[B][:6] == ["messages", "COMPLETED", "ended", "completed", "10/10", "1"]
        for chosen in (("--status", "processing"), ("--label", "team=a"), ("--phase", "active")):
            (found,) = json_lines(say("list", *chosen, "--json")[0])
            assert found["id"] == A
        assert say("list", "--limit", "1")[1] == "poller: there are more; --limit is 1\n"
        assert say("list", "--kind", "emails") == ("", "poller: nothing found\n")

        shown, _ = say("show", A)
        assert f"operation\t{A}\n" in shown
        assert "progress\t40 of 100 done: 40 delivered\n" in shown
        assert shown.endswith("stdout: 1 delivered\n")
        assert json_lines(say("show", A, "--json")[0])[0]["events"][0]["sequence"] == 1

        name, state, _, waiting, *_ = cells(say("sinks")[0])[1]
        assert (name, state, waiting) == ("stdout", "ok", "0")
        assert json_lines(say("sinks", "--json")[0])[0]["name"] == "stdout"

        forgotten, _ = say("forget", A, D, code=1)
        assert cells(forgotten) == [[A, "forgotten"], [D, "unknown"]]
        assert json_lines(say("list", "--phase", "forgotten", "--json")[0])[0]["id"] == A
        _, said = say("show", D, code=1)
        assert f"does not know {D}" in said
        assert running.stop() == 0


def test_why_a_webhook_did_not_arrive(api: FakeApi, tmp_path: Path) -> None:
    """`show` says it of the first event that waits, and which one the others wait for."""
    api.script(
        A,
        [
            operation(A, "SCHEDULED", total=5, scheduled=5),
            operation(A, "COMPLETED", updated=1, total=5, delivered=5),
        ],
    )
    with Receiver(script=[Answer(status=503)] * 1000) as receiver:
        variables = environment(
            api,
            tmp_path,
            POLLER_SINKS__APP__TYPE="webhook",
            POLLER_SINKS__APP__URL=receiver.url,
        )
        with daemon(variables, tmp_path, A) as running:

            def shown() -> str:
                return poller("show", A, cwd=tmp_path, environment=variables).stdout

            eventually(lambda: "\tblocked\tbehind #1" in shown())
            text = shown()
            assert "answered 503; attempt " in text
            assert "app: 1 waiting, 1 blocked; #1 " in text
            sinks = cells(poller("sinks", cwd=tmp_path, environment=variables).stdout)
            assert sinks[1][:2] == ["app", "failing"]

            def health() -> subprocess.CompletedProcess[str]:
                return poller("health", "--ready", cwd=tmp_path, environment=variables)

            # a daemon that has not checked its store yet says that it is unready
            eventually(lambda: health().returncode == 0)
            assert health().stdout.startswith("degraded\ndegraded: sink app since ")
            assert running.stop() == 0


def test_letters_and_replay_by_way_of_the_daemon(api: FakeApi, tmp_path: Path) -> None:
    """A shell without the store's place, and even another machine, speaks to the daemon."""
    api.script(A, [operation(A, "COMPLETED", total=1, delivered=1)])
    variables = environment(api, tmp_path, POLLER_SINKS__OUT__TYPE="stdout")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    listen = variables["POLLER_SERVER__LISTEN"]
    with daemon(variables, tmp_path, A) as running:
        eventually(lambda: len(running.events) == 1)
        (event,) = running.events

        def say(*call: str, code: int = 0, **more: str) -> tuple[str, str]:
            done = poller(*call, cwd=elsewhere, environment=more)
            assert done.returncode == code, done.stderr
            return done.stdout, done.stderr

        assert say("dead-letters", "--url", listen) == (
            "",
            f"poller: no dead letters at {listen}\n",
        )
        assert say("dead-letters", POLLER_SERVER__LISTEN=listen)[1].endswith(f"{listen}\n")
        assert say("replay", event["id"], POLLER_URL=listen) == ("out: 1 event replayed\n", "")
        eventually(lambda: len(running.events) == 2)
        assert running.events[1] == event
        _, said = say("replay", "nope", "--url", listen, code=1)
        assert "no event 'nope' is kept" in said
        _, said = say("replay", event["id"], "--to", "nope", "--url", listen, code=1)
        assert said == "poller: --to: the store knows no sink 'nope'; it knows: out\n"
        assert list(elsewhere.iterdir()) == []
        assert running.stop() == 0


def test_a_token_on_a_port(api: FakeApi, tmp_path: Path) -> None:
    """The token of the settings is sent; without it the message says which variable to set."""
    variables = environment(
        api, tmp_path, POLLER_SERVER__LISTEN="127.0.0.1:0", POLLER_SERVER__TOKEN=SECRET
    )
    with daemon(variables, tmp_path) as running:
        url = running.logged("server.listening")[0]["address"]
        good = poller("list", "--url", url, cwd=tmp_path, environment=variables)
        assert (good.returncode, good.stderr) == (0, "poller: nothing found\n")
        bad = poller("list", "--url", url, cwd=tmp_path)
        assert bad.returncode == 1
        assert "POLLER_SERVER__TOKEN" in bad.stderr
        # health never asks for it
        assert poller("health", "--url", url, cwd=tmp_path).returncode == 0
        lost = poller("list", cwd=tmp_path, environment=variables)
        assert (lost.returncode, "server.listening" in lost.stderr) == (2, True)
        assert SECRET not in good.stdout + good.stderr + bad.stderr + lost.stderr
        assert running.stop() == 0


@pytest.mark.parametrize(
    "call", [("add", A), ("list",), ("show", A), ("forget", A), ("sinks",), ("health",)]
)
def test_nobody_is_there(tmp_path: Path, call: tuple[str, ...]) -> None:
    """One line that names the address and the fix, exit code 1."""
    listen = f"unix:{tmp_path / 'none.sock'}"
    done = poller(*call, cwd=tmp_path, environment={"POLLER_SERVER__LISTEN": listen})
    assert done.returncode == 1
    assert done.stderr == (
        f"poller: no daemon answers at {listen}: there is no socket {tmp_path}/none.sock; "
        "start `poller run`, or name where it listens with --url\n"
    )
    wrong = poller(*call, "--url", "127.0.0.1:8470", cwd=tmp_path)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("poller: --url: ")


def test_health(api: FakeApi, tmp_path: Path) -> None:
    """0 with an answer, 1 once the daemon is gone; settings from a file are found, too."""
    variables = environment(api, tmp_path)
    listen = variables["POLLER_SERVER__LISTEN"]
    config = tmp_path / "poller.toml"
    config.write_text(f'[server]\nlisten = "{listen}"\n')
    with daemon(variables, tmp_path) as running:
        for call, chosen in (
            (("health",), variables),
            (("health", "--ready"), {"POLLER_URL": listen}),
            (("health", f"--url={listen}"), {}),
            (("health", "--config", str(config)), {}),
            (("health",), {"POLLER_CONFIG": str(config)}),
        ):
            done = poller(*call, cwd=tmp_path, environment=chosen)
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout in {"ok\n", "ready\n"}
        (document,) = json_lines(
            poller("health", "--json", cwd=tmp_path, environment=variables).stdout
        )
        assert document["status"] == "ok"
        assert running.stop() == 0
    assert poller("health", cwd=tmp_path, environment=variables).returncode == 1


@pytest.mark.slow
def test_a_health_check_is_cheap(tmp_path: Path) -> None:
    """It is asked all day long: it costs little more than the start of the interpreter."""

    def seconds(*arguments: str) -> float:
        """Return the CPU time of the cheapest of some runs."""
        spent = []
        for _ in range(5):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(
                [sys.executable, *arguments],
                cwd=tmp_path,
                env={"PATH": os.environ["PATH"], "POLLER_URL": f"unix:{tmp_path / 'none'}"},
                capture_output=True,
                check=False,
            )
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return min(spent)

    assert seconds("-m", "poller", "health") < seconds("-c", "import typer") + 0.05


def test_watch_follows_the_daemon(api: FakeApi, tmp_path: Path) -> None:
    """Its events come as the daemon emitted them, from the first on; it asks the API nothing."""
    api.script(A, [operation(A, "PROCESSING", total=10, delivered=4)])
    variables = environment(api, tmp_path)
    with daemon(variables, tmp_path, A) as running:
        eventually(lambda: len(running.events) == 1)
        # no credentials: only the daemon can answer
        own = {"POLLER_SERVER__LISTEN": variables["POLLER_SERVER__LISTEN"]}
        with Poller("watch", A, cwd=tmp_path, environment=own) as watching:
            eventually(lambda: len(watching.out) == 1)
            api.script(A, [operation(A, "COMPLETED", updated=9, total=10, delivered=10)])
            assert watching.wait() == 0, watching.err
        assert watching.events == running.events
        assert [event["type"] for event in watching.events][-1] == "operation.completed"
        assert watching.logged("watch.following")[0]["operations"] == 1
        # what has ended is shown in full as well, and how it ended is the exit code
        again = poller("watch", A, cwd=tmp_path, environment=own)
        assert (again.returncode, json_lines(again.stdout)) == (0, running.events)
        assert running.stop() == 0


def test_watch_asks_itself_about_what_the_daemon_does_not_know(
    api: FakeApi, tmp_path: Path
) -> None:
    """It registers nothing there."""
    api.script(A, [operation(A, "COMPLETED", total=1, delivered=1)])
    api.script(B, [operation(B, "CANCELED", total=1, canceled=1)])
    variables = environment(api, tmp_path)
    with daemon(variables, tmp_path, A) as running:
        eventually(lambda: len(running.events) == 1)
        done = poller("watch", A, B, cwd=tmp_path, environment=variables)
        assert done.returncode == 3
        assert {event["subject"] for event in json_lines(done.stdout)} == {A, B}
        listed = json_lines(poller("list", "--json", cwd=tmp_path, environment=variables).stdout)
        assert [one["id"] for one in listed] == [A]
        assert running.stop() == 0


def test_watch_goes_on_when_the_daemon_is_killed(api: FakeApi, tmp_path: Path) -> None:
    """After some waiting it asks the API itself, and goes on counting where the daemon was."""
    api.script(A, [operation(A, "PROCESSING", total=10, delivered=4)])
    variables = environment(api, tmp_path)
    with daemon(variables, tmp_path, A) as running:
        with Poller("watch", A, cwd=tmp_path, environment=variables) as watching:
            eventually(lambda: len(watching.out) == 1)
            running.signal(signal.SIGKILL)
            api.script(A, [operation(A, "COMPLETED", updated=9, total=10, delivered=10)])
            assert watching.wait(60.0) == 0, watching.err
        assert [int(event["sequence"]) for event in watching.events] == [1, 2]
        assert watching.events[1]["data"]["delta"] == {"delivered": 6}
        assert watching.logged("watch.daemon_gone")


def test_watch_survives_a_restart_of_the_daemon(api: FakeApi, tmp_path: Path) -> None:
    """A daemon that comes back is followed on: nothing is missed, nothing comes twice."""
    api.script(A, [operation(A, "PROCESSING", total=10, delivered=4)])
    variables = environment(api, tmp_path)
    own = {"POLLER_SERVER__LISTEN": variables["POLLER_SERVER__LISTEN"]}
    with daemon(variables, tmp_path, A) as first:
        with Poller("watch", A, cwd=tmp_path, environment=own) as watching:
            eventually(lambda: len(watching.out) == 1)
            assert first.stop() == 0
            api.script(A, [operation(A, "COMPLETED", updated=9, total=10, delivered=10)])
            with daemon(variables, tmp_path) as second:
                assert watching.wait() == 0, watching.err
                assert second.stop() == 0
        assert watching.events == [*first.events, *second.events]


def test_watch_without_anything_to_ask(api: FakeApi, tmp_path: Path) -> None:
    """Neither daemon nor credentials: the message says what to set."""
    api.override = Reply(status=401, body=envelope(20003, "Authenticate"))
    listen = f"unix:{tmp_path / 'none.sock'}"
    done = poller("watch", A, cwd=tmp_path, environment={"POLLER_URL": listen})
    assert done.returncode == 2
    assert "watch.no_daemon" in done.stderr
    assert "TWILIO_ACCOUNT_SID" in done.stderr
