"""`poller run` through the real command line and real sockets."""

import base64
import json
import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.api import TOKEN, FakeApi, Reply, envelope, operation, operation_id
from tests.fakes.event_files import read_events
from tests.fakes.process import Poller, eventually, poller
from tests.fakes.receiver import Answer, Receiver
from tests.fakes.terminal import Terminal
from tests.oracle import check_promises

pytestmark = pytest.mark.acceptance

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
FAST = {
    "POLLER_API__REQUESTS_PER_SECOND": "500",
    "POLLER_POLLING__MIN_INTERVAL": "20ms",
    "POLLER_POLLING__MAX_INTERVAL": "100ms",
    "POLLER_POLLING__PROGRESS_INTERVAL": "0s",
    "POLLER_POLLING__NOT_FOUND_GRACE": "200ms",
}
Event = dict[str, Any]


@pytest.fixture
def api() -> Iterator[FakeApi]:
    """Give a scripted API."""
    with FakeApi() as server:
        yield server


def environment(api: FakeApi, **more: str) -> dict[str, str]:
    """Point a fast poller at the API."""
    return {**api.environment, **FAST, **more}


def campaign(name: str, end: str, *, steps: int = 4) -> list[dict[str, Any]]:
    """Script an operation from its schedule to its end; counters rise and fall on the way."""
    total = 100
    way = [operation(name, "SCHEDULED", total=total, scheduled=total)]
    way += [
        operation(
            name,
            "PROCESSING",
            updated=step + 1,
            total=total,
            queued=total - 20 * (step + 1),
            sent=5,
            delivered=20 * (step + 1) - 5,
        )
        for step in range(steps)
    ]
    last: dict[str, Any] = {"delivered": 90, "failed": 7, "undelivered": 3}
    if end == "CANCELED":
        last = {"delivered": 40, "canceled": 60}
    return [*way, operation(name, end, updated=60, total=total, attempts=120, **last)]


def by_id(events: list[Event]) -> list[Event]:
    """Sort events so that two sinks can be compared."""
    return sorted(events, key=lambda event: str(event["id"]))


def test_three_sinks_agree_on_every_operation(api: FakeApi, tmp_path: Path) -> None:
    """Configured by environment only: every end once, the sinks agree, nothing secret is said."""
    ids = [operation_id(number) for number in range(4)]
    for number, name in enumerate(ids):
        api.script(name, campaign(name, "CANCELED" if number % 4 == 0 else "COMPLETED"))
    with Receiver(secret=SECRET) as receiver:
        variables = environment(
            api,
            POLLER_SINKS=json.dumps(
                {
                    "out": {"type": "stdout"},
                    "log": {"type": "file", "path": "events.ndjson"},
                    "app": {"type": "webhook", "url": receiver.url},
                }
            ),
            POLLER_SINKS__APP__SECRET=SECRET,
        )
        done = poller(
            "run", "--until-idle", "--label", "campaign=autumn", *ids,
            cwd=tmp_path, environment=variables,
        )  # fmt: skip
        posted = list(receiver.received)
    assert done.returncode == 0, done.stderr
    printed = [json.loads(line) for line in done.stdout.splitlines()]
    check_promises(printed)
    assert {event["subject"] for event in printed} == set(ids)
    ends = Counter(event["type"] for event in printed if event["data"]["final"])
    assert ends == {"operation.completed": 3, "operation.canceled": 1}
    assert read_events(tmp_path / "events.ndjson") == printed
    assert by_id([json.loads(request.body) for request in posted]) == by_id(printed)
    assert {request.signature for request in posted} == {"good"}
    assert all(event["data"]["labels"] == {"campaign": "autumn"} for event in printed)
    key = SECRET.removeprefix("whsec_")
    for secret in (TOKEN, key, base64.b64encode(TOKEN.encode()).decode()):
        assert secret not in done.stdout + done.stderr


def test_a_restart_loses_and_repeats_nothing(api: FakeApi, tmp_path: Path) -> None:
    """After SIGTERM and a new start: no event twice under a new id, nothing fetched to catch up."""
    ended, running = operation_id(1), operation_id(2)
    api.script(ended, campaign(ended, "COMPLETED"))
    api.script(running, campaign(running, "COMPLETED")[:3])
    variables = environment(api, POLLER_SINKS='{"log": {"type": "file", "path": "events.ndjson"}}')
    path = tmp_path / "events.ndjson"
    with Poller("run", ended, running, cwd=tmp_path, environment=variables) as first:
        eventually(lambda: len(read_events(path)) >= 9)
        assert first.stop() == 0
    known = api.count(ended)
    assert not any(
        event["data"]["final"] for event in read_events(path) if event["subject"] == running
    )
    api.script(running, campaign(running, "COMPLETED")[-1:])
    done = poller("run", "--until-idle", cwd=tmp_path, environment=variables)
    assert done.returncode == 0, done.stderr
    check_promises(read_events(path))
    assert len({event["id"] for event in read_events(path)}) == len(read_events(path))
    assert api.count(ended) == known


def test_ids_and_json_come_on_standard_input(api: FakeApi, tmp_path: Path) -> None:
    """Lines are registered as they come; a bad one is logged, skipped, and counted: exit 3."""
    plain, labelled = operation_id(1), operation_id(2)
    for name in (plain, labelled):
        api.script(name, campaign(name, "COMPLETED"))
    with Poller(
        "run", "--stdin", "--until-idle", cwd=tmp_path, environment=environment(api), stdin=True
    ) as daemon:
        daemon.say(plain)
        eventually(lambda: any(event["data"]["final"] for event in daemon.events))
        daemon.say("nonsense")
        daemon.say(json.dumps({"id": labelled, "labels": {"team": "red"}}))
        daemon.end_input()
        assert daemon.wait() == 3
    check_promises(daemon.events)
    (unfinished,) = daemon.logged("daemon.unfinished")
    assert (unfinished["reason"], unfinished["refused_lines"]) == ("idle", 1)
    assert (unfinished["watched"], unfinished["lost"], unfinished["dead_letters"]) == (0, 0, 0)
    assert [line["line"] for line in daemon.logged("stdin.skipped")] == [2]
    red = [event for event in daemon.events if event["data"]["labels"] == {"team": "red"}]
    assert {event["subject"] for event in red} == {labelled}


def test_exit_3_where_something_was_lost(api: FakeApi, tmp_path: Path) -> None:
    """404s over the grace end a watch with `operation.lost`, and --until-idle says so."""
    done = poller(
        "run", "--until-idle", operation_id(9), cwd=tmp_path, environment=environment(api)
    )
    assert done.returncode == 3, done.stderr
    (event,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (event["type"], event["data"]["reason"]) == ("operation.lost", "not_found")
    assert event["data"]["operation"] == {"id": operation_id(9)}
    assert event["data"]["observedAt"] is None
    assert "check the id, its kind and its account" in done.stderr


def test_exit_4_after_the_timeout(api: FakeApi, tmp_path: Path) -> None:
    """--timeout ends a run that is not idle; the log says so, and what was unfinished."""
    name = api.script(operation_id(1), [operation(operation_id(1), "PROCESSING")])
    done = poller(
        "run", "--until-idle", "--timeout", "1s", name,
        cwd=tmp_path, environment=environment(api),
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
    logged = {line["event"]: line for line in map(json.loads, done.stderr.splitlines())}
    assert logged["daemon.stopping"]["reason"] == "timeout"
    unfinished = logged["daemon.unfinished"]
    assert (unfinished["reason"], unfinished["watched"]) == ("timeout", 1)


def test_refused_credentials_end_only_until_idle(api: FakeApi, tmp_path: Path) -> None:
    """Exit 1 with one readable line, because nobody would come to repair it."""
    api.credentials = ("AC", "other")
    done = poller(
        "run", "--until-idle", operation_id(1), cwd=tmp_path, environment=environment(api)
    )
    assert done.returncode == 1
    assert "credentials.refused" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("with_sighup", [False, True], ids=["probe", "sighup"])
def test_corrected_credentials_are_noticed(
    api: FakeApi, tmp_path: Path, *, with_sighup: bool
) -> None:
    """A daemon survives 401, loses nothing, and reads credentials again from their files."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    token = secrets / "twilio_auth_token"
    token.write_text("wrong")
    name = api.script(operation_id(1), campaign(operation_id(1), "COMPLETED"))
    variables = environment(
        api,
        POLLER_SECRETS_DIR=str(secrets),
        POLLER_POLLING__MAX_INTERVAL="1h" if with_sighup else "300ms",
    )
    del variables["TWILIO_AUTH_TOKEN"]
    with Poller("run", name, cwd=tmp_path, environment=variables) as daemon:
        eventually(lambda: bool(daemon.logged("account.paused")))
        token.write_text(TOKEN)
        if with_sighup:
            daemon.signal(signal.SIGHUP)
        eventually(lambda: any(event["data"]["final"] for event in daemon.events))
        assert daemon.stop() == 0
    check_promises(daemon.events)
    assert daemon.logged("account.resumed")


def test_an_unreachable_api_is_waited_for(tmp_path: Path) -> None:
    """The daemon says so and goes on when it is there again."""
    with FakeApi() as gone:
        variables = environment(gone, POLLER_LOG__LEVEL="debug")
    with Poller("run", operation_id(1), cwd=tmp_path, environment=variables) as daemon:
        eventually(lambda: len(daemon.logged("poll.failed")) >= 3)
        first, *others = daemon.logged("poll.failed")
        assert (first["fault"], first["level"]) == ("network", "warning")
        assert {line["level"] for line in others} == {"debug"}
        assert daemon.stop() == 0


def test_a_429_pauses_the_account_across_a_restart(api: FakeApi, tmp_path: Path) -> None:
    """`Retry-After` silences everybody; a new process keeps the pause."""
    ids = [operation_id(number) for number in range(5)]
    for name in ids:
        api.script(name, [operation(name, "PROCESSING")])
    variables = environment(api)
    with Poller("run", *ids, cwd=tmp_path, environment=variables) as daemon:
        eventually(lambda: len(api.requests) > 10)
        api.override = Reply(
            status=429, headers={"retry-after": "60"}, body=envelope(20429, "Too many requests")
        )
        eventually(lambda: bool(daemon.logged("account.paused")))
        assert daemon.stop() == 0
    api.override = None
    before = len(api.requests)
    with Poller("run", cwd=tmp_path, environment=variables) as daemon:
        eventually(lambda: bool(daemon.logged("daemon.started")))
        with pytest.raises(AssertionError, match="did not happen"):
            eventually(lambda: len(api.requests) > before, timeout=1.5)
        assert daemon.stop() == 0


def test_a_closed_pipe_ends_the_only_sink(api: FakeApi, tmp_path: Path) -> None:
    """With stdout gone and no other sink the daemon stops in order, exit 1, deliveries kept."""
    name = api.script(operation_id(1), campaign(operation_id(1), "COMPLETED"))
    variables = environment(api)
    done = poller("run", name, cwd=tmp_path, environment=variables, stdout=_broken_pipe())
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    again = poller("run", "--until-idle", cwd=tmp_path, environment=variables)
    assert again.returncode == 0
    check_promises([json.loads(line) for line in again.stdout.splitlines()])


def test_sighup_swaps_sinks_whole_or_not_at_all(api: FakeApi, tmp_path: Path) -> None:
    """A changed file of settings takes effect; a bad one is refused with a reason."""
    config = tmp_path / "poller.toml"
    config.write_text('[sinks.one]\ntype = "file"\npath = "one.ndjson"\n')
    first, second = operation_id(1), operation_id(2)
    for name in (first, second):
        api.script(name, campaign(name, "COMPLETED"))
    variables = environment(api, POLLER_CONFIG="poller.toml")
    with Poller("run", "--stdin", cwd=tmp_path, environment=variables, stdin=True) as daemon:
        daemon.say(first)
        eventually(lambda: _ended(tmp_path / "one.ndjson"))
        config.write_text("[sinks.one]\ntype = 'nonsense'\n")
        daemon.signal(signal.SIGHUP)
        eventually(lambda: bool(daemon.logged("daemon.reload_refused")))
        config.write_text('[sinks.two]\ntype = "file"\npath = "two.ndjson"\n')
        daemon.signal(signal.SIGHUP)
        eventually(lambda: bool(daemon.logged("daemon.reloaded")))
        daemon.say(second)
        eventually(lambda: _ended(tmp_path / "two.ndjson"))
        config.write_text('[api]\nbase_url = "http://127.0.0.1:1/v1"\n')
        assert daemon.stop() == 0
    assert {event["subject"] for event in read_events(tmp_path / "one.ndjson")} == {first}
    assert {event["subject"] for event in read_events(tmp_path / "two.ndjson")} == {second}


def test_a_webhook_that_is_down_delays_nobody(api: FakeApi, tmp_path: Path) -> None:
    """The file has everything while the webhook is down; when it returns it gets all, in order."""
    ids = [operation_id(number) for number in range(2)]
    for name in ids:
        api.script(name, campaign(name, "COMPLETED"))
    path = tmp_path / "events.ndjson"
    with Receiver(secret=SECRET, default=Answer(status=503)) as receiver:
        variables = environment(
            api,
            POLLER_SINKS=json.dumps(
                {
                    "log": {"type": "file", "path": "events.ndjson"},
                    "app": {"type": "webhook", "url": receiver.url, "secret": SECRET},
                }
            ),
        )
        with Poller("run", *ids, cwd=tmp_path, environment=variables) as daemon:
            eventually(lambda: _ended(path, number=len(ids)))
            receiver.answer_always(Answer(status=204))
            eventually(lambda: len(_accepted(receiver)) >= len(read_events(path)))
            assert daemon.stop() == 0
        check_promises(_accepted(receiver))


def _broken_pipe() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def _accepted(receiver: Receiver) -> list[Event]:
    """First arrivals of what the receiver took, in order."""
    seen: dict[str, Event] = {}
    for request in list(receiver.received):
        if request.accepted:
            event = json.loads(request.body)
            seen.setdefault(event["id"], event)
    return list(seen.values())


def _ended(path: Path, number: int = 1) -> bool:
    ends = [event for event in read_events(path) if event["data"]["final"]]
    return len(ends) >= number


LONE = operation_id(9001)


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["people", "json"])
def test_on_a_terminal_a_line_for_each_event(
    api: FakeApi, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Aligned and for people, and the log repeats no event; `--json` gives the events."""
    api.script(LONE, campaign(LONE, "COMPLETED"))
    run = ("run", LONE, "--until-idle", *options)
    with Terminal(*run, cwd=tmp_path, environment=environment(api)) as terminal:
        assert terminal.wait() == 0, terminal.text
    lines = [line for line in terminal.text.splitlines() if line]
    documents = [json.loads(line) for line in lines if line.startswith('{"specversion"')]
    if options:
        assert [one["subject"] for one in documents] == [LONE] * len(documents)
        assert documents[-1]["type"] == "operation.completed"
        return
    assert documents == []
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]
    shown = [line for line in plain if re.match(r"\d\d:\d\d:\d\dZ  \S*" + LONE[-6:], line)]
    assert sum(" completed " in line for line in shown) == 1
    assert sum("operation.completed" in line for line in lines) == 0
    assert len(shown) > 2
    assert max(map(len, shown)) <= 100


def test_the_alerts_of_the_readme_reach_the_application_that_pauses(
    api: FakeApi, tmp_path: Path
) -> None:
    """As written, but for the address: at 5 % failures one alert, before the end."""
    text = (Path(__file__).parents[2] / "README.md").read_text()
    (block,) = (
        one for one in re.findall(r"```toml\n(.*?)```", text, re.DOTALL) if "[alerts." in one
    )
    steps = [
        operation(LONE, "PROCESSING", updated=step, total=1000, delivered=good, failed=bad)
        for step, (good, bad) in enumerate([(180, 12), (290, 14), (475, 25), (570, 60)], start=1)
    ]
    end = operation(LONE, "COMPLETED", updated=9, total=1000, delivered=920, failed=80)
    api.script(LONE, [*steps, end])
    with Receiver() as receiver:
        settings = block.replace("https://app.example.com/hooks/brake", receiver.url)
        (tmp_path / "poller.toml").write_text(settings)
        arguments = ("run", LONE, "--label", "campaign=autumn", "--until-idle")
        variables = environment(api, POLLER_CONFIG="poller.toml")
        done = poller(*arguments, cwd=tmp_path, environment=variables)
        assert done.returncode == 0, done.stderr
    [event] = [one.event for one in receiver.received]
    assert event["type"] == "operation.alert"
    assert event["data"]["alert"] == {
        "name": "bounces",
        "measure": "ratio",
        "value": 0.05,
        "threshold": 0.05,
    }
    assert event["data"]["labels"] == {"campaign": "autumn"}
    assert event["data"]["final"] is False
