"""What failed, read at the end of an operation: exact, cheap, last, and in spite of faults."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from poller.comms.kinds import KINDS
from poller.tracking.event import load_event_schema
from tests.acceptance.breakdowns import breakdown_of, check_breakdown, verify
from tests.benchmarks.simulated import Simulated
from tests.fakes.api import Reply, envelope
from tests.fakes.process import poller
from tests.fakes.proxy import ApiProxy
from tests.oracle import check_promises

pytestmark = pytest.mark.acceptance

MESSAGES = KINDS["messages"]
MOST_REQUESTS = 12
FAST = {
    "POLLER_API__REQUESTS_PER_SECOND": "200",
    "POLLER_POLLING__MIN_INTERVAL": "100ms",
    "POLLER_POLLING__MAX_INTERVAL": "500ms",
    "POLLER_POLLING__PROGRESS_INTERVAL": "1s",
    "POLLER_POLLING__SETTLE": "8s",
    "POLLER_POLLING__BREAKDOWN": "true",
}
Event = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A simulator, the way to it, and the directory of a poller."""

    simulator: Simulated
    api: ApiProxy
    cwd: Path

    @property
    def details(self) -> list[str]:
        """The requests for anything but operations."""
        return [path for path in self.api.requests if not is_look(path)]

    def truth(self, name: str) -> dict[str, Any]:
        """Return what the simulator knows of an operation."""
        return self.simulator.control("GET", f"operations/{name}/truth")

    def run(self, *arguments: str, **more: str) -> list[Event]:
        """Run until everything has ended; its events, each as the schema wants it."""
        variables = {**self.simulator.environment, **self.api.environment, **FAST, **more}
        command = ("run", "--until-idle", "--timeout", "25s", *arguments)
        done = poller(*command, cwd=self.cwd, environment=variables)
        assert done.returncode == 0, done.stderr[-3000:]
        events = [json.loads(line) for line in done.stdout.splitlines()]
        validator = jsonschema.Draft202012Validator(load_event_schema())
        for event in events:
            validator.validate(event)
        check_promises(events)
        verify(done.stdout, cwd=self.cwd)
        return events


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Give a stage on which ten thousand recipients take two seconds."""
    with (
        Simulated("--speed", "400", cwd=tmp_path) as simulator,
        ApiProxy(simulator.base_url) as proxy,
    ):
        yield Stage(simulator=simulator, api=proxy, cwd=tmp_path)


def is_look(path: str) -> bool:
    """Tell whether an operation, or a list of them, was asked for."""
    plain = path.partition("?")[0]
    return "/Operations" in plain and not plain.endswith("/Errors")


@pytest.mark.slow
def test_ten_thousand_messages_with_seven_hundred_failures(stage: Stage) -> None:
    """Five codes: the breakdown is exact, is the last event, and costs at most twelve requests."""
    [name] = stage.simulator.send(1, recipients=10_000, fate="failing")
    events = stage.run(name)
    truth = stage.truth(name)
    assert sorted(truth["codes"].values()) == [50, 90, 130, 180, 250]
    check_breakdown(events, truth, MESSAGES)
    assert 0 < len(stage.details) <= MOST_REQUESTS
    last = events[-1]["data"]
    assert (last["final"], last["delta"], last["reason"]) == (False, {}, None)
    assert last["previousStatus"] == last["operation"]["status"] == "COMPLETED"
    assert [event["type"] for event in events if event["data"]["final"]] == ["operation.settled"]


@pytest.mark.parametrize(
    ("setting", "option", "is_emitted"),
    [("false", "--breakdown", True), ("true", "--no-breakdown", False)],
)
def test_the_registration_decides_before_the_settings(
    setting: str,
    option: str,
    is_emitted: bool,  # noqa: FBT001 - a parameter of the test
    stage: Stage,
) -> None:
    """`--breakdown` and `--no-breakdown` override `polling.breakdown`; without it, no request."""
    [name] = stage.simulator.send(1, recipients=100, fate="troubled")
    events = stage.run(option, name, POLLER_POLLING__BREAKDOWN=setting)
    assert (events[-1]["type"] == "operation.breakdown") is is_emitted
    assert bool(stage.details) is is_emitted


def test_nothing_failed_and_nothing_is_read(stage: Stage) -> None:
    """An operation that ends without failures costs no request more and has no breakdown."""
    [name] = stage.simulator.send(1, recipients=100, fate="smooth")
    events = stage.run(name)
    assert events[-1]["type"] == "operation.settled"
    assert stage.details == []


def test_a_canceled_operation_is_explained_too(stage: Stage) -> None:
    """What failed before the cancellation is reported; `final` is on the cancellation."""
    [name] = stage.simulator.send(1, recipients=1000, fate="canceled")
    events = stage.run(name)
    assert [event["type"] for event in events[-2:]] == ["operation.canceled", "operation.breakdown"]
    assert [event["data"]["final"] for event in events[-2:]] == [True, False]


def is_errors(path: str) -> bool:
    """Tell whether an operation's errors were asked for."""
    return path.partition("?")[0].endswith("/Errors")


def is_list(path: str) -> bool:
    """Tell whether failed messages were asked for."""
    return "operationId=" in path


@pytest.mark.parametrize(
    ("reply", "refused", "missing"),
    [
        pytest.param(
            Reply(status=400, body=envelope(20400, "no such filter")),
            [is_list],
            ["messages:FAILED", "messages:UNDELIVERED"],
            id="messages-400",
        ),
        pytest.param(
            Reply(status=404, body=envelope(20404, "nothing")),
            [is_errors, is_list],
            ["errors", "messages:FAILED", "messages:UNDELIVERED"],
            id="all-404",
        ),
    ],
)
def test_what_cannot_be_read_for_good_is_named(
    reply: Reply,
    refused: Sequence[Callable[[str], bool]],
    missing: list[str],
    stage: Stage,
) -> None:
    """The breakdown says what it is without, and the operation ends all the same."""
    [name] = stage.simulator.send(1, recipients=1000, fate="failing")
    stage.api.instead = lambda path: reply if any(test(path) for test in refused) else None
    events = stage.run(name)
    found = breakdown_of(events, name)
    assert (found["complete"], found["missing"]) == (False, missing)
    assert bool(found["errors"]) is (is_errors not in refused)
    assert bool(found["messages"]) is (is_list not in refused)


@pytest.mark.slow
def test_storms_of_429_in_the_middle_lose_nothing(stage: Stage) -> None:
    """Refused between two pages, and twice in a row: each page is counted once."""
    [name] = stage.simulator.send(1, recipients=10_000, fate="failing")
    stage.api.rewrite = lambda path: path.replace("pageSize=1000", "pageSize=400")
    throttled = Reply(status=429, body=envelope(20429, "Too many"), headers={"retry-after": "0"})
    turns = {"number": 0}

    def instead(path: str) -> Reply | None:
        if is_look(path):
            return None
        turns["number"] += 1
        return throttled if turns["number"] in {2, 4, 5} else None

    stage.api.instead = instead
    events = stage.run(name)
    assert turns["number"] > 5
    check_breakdown(events, stage.truth(name), MESSAGES)
