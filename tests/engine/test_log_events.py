"""What the engine logs: each id can be found, and instants are written one way."""

from pathlib import Path

from structlog.testing import capture_logs

import poller
from poller.comms.errors import NetworkError, ServerError
from poller.engine.log_events import PollLog, RegistrationLog
from poller.store.registrations import Registered
from poller.store.watches import Observation
from poller.tracking.answer import Verdict
from poller.tracking.registration import Registration, register
from tests.store.scenes import HOME, Clock, op


def test_registrations_of_a_batch_can_be_found_by_id() -> None:
    """Few at info; of many a sum at info and each at debug."""
    now = Clock()()
    results = []
    for number in range(200):
        watch, _ = register(None, Registration(id=op(number), kind="messages"), scope=HOME, now=now)
        results.append(Registered(id=op(number), watch=watch, is_new=True))
    with capture_logs() as logs:
        RegistrationLog(Clock()).results(results)
    single = {line["operation"]: line for line in logs if line["event"] == "operation.registered"}
    assert single.keys() == {op(number) for number in range(200)}
    assert {line["log_level"] for line in single.values()} == {"debug"}
    [total] = [line for line in logs if line["event"] == "operations.registered"]
    assert (total["new"], total["refused"], total["log_level"]) == (200, 0, "info")
    with capture_logs() as logs:
        RegistrationLog(Clock()).results(results[:1])
    assert [line["log_level"] for line in logs] == ["info"]


def test_refused_registrations_do_not_fill_the_log() -> None:
    """The first few are warnings, all others are at debug and in the sum."""
    results = [Registered(id=op(number), watch=None, conflict="no") for number in range(200)]
    with capture_logs() as logs:
        RegistrationLog(Clock()).results(results)
    single = [line for line in logs if line["event"] == "operation.refused"]
    assert {line["operation"] for line in single} == {op(number) for number in range(200)}
    assert [line["log_level"] for line in single] == ["warning"] * 8 + ["debug"] * 192
    [total] = [line for line in logs if line["event"] == "operations.registered"]
    assert (total["new"], total["known"], total["refused"]) == (0, 0, 200)


def test_failures_of_many_operations_are_one_trouble() -> None:
    """A line when it begins, when it changes, after five minutes, and when it ends."""
    clock = Clock()
    polling = PollLog(clock)
    with capture_logs() as logs:
        for number in range(120):
            polling.failure(NetworkError("the fetch", "no route"), operation=op(number))
            polling.success()
            clock.advance(3)
        polling.failure(ServerError("the fetch", "500", status=500), operation=op(0))
        clock.advance(61)
        polling.success()
    at_debug = [line for line in logs if line["log_level"] == "debug"]
    assert len(at_debug) == 118
    assert {line["event"] for line in at_debug} == {"poll.failed"}
    loud = [line for line in logs if line["log_level"] != "debug"]
    assert [(line["event"], line.get("unlogged")) for line in loud] == [
        ("poll.failed", 0),
        ("poll.failed", 99),
        ("poll.failed", 19),
        ("poll.recovered", None),
    ]
    assert loud[-1]["failures"] == 121


def test_stale_answers_do_not_fill_the_log() -> None:
    """The first few are warnings."""
    polling = PollLog(Clock())
    with capture_logs() as logs:
        polling.observations(
            Observation(id=op(number), verdict=Verdict.STALE, watch=None, events=[])
            for number in range(50)
        )
    assert [line["log_level"] for line in logs] == ["warning"] * 8 + ["debug"] * 42


def test_instants_are_written_in_one_place() -> None:
    """As `…Z`: what formats them by itself writes `+00:00`. Queries to the API are the API's."""
    root = Path(poller.__file__).parent
    found = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if ".isoformat(" in path.read_text(encoding="utf-8")
    }
    assert found == {"comms/client.py", "simulator/formats.py", "text.py"}
