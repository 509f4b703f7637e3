"""What the engine logs: each id can be found, and instants are written one way."""

from pathlib import Path

from structlog.testing import capture_logs

import poller
from poller.engine.log_events import log_registrations
from poller.store.watches import Registered
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
        log_registrations(results)
    single = {line["operation"]: line for line in logs if line["event"] == "operation.registered"}
    assert single.keys() == {op(number) for number in range(200)}
    assert {line["log_level"] for line in single.values()} == {"debug"}
    [total] = [line for line in logs if line["event"] == "operations.registered"]
    assert (total["new"], total["log_level"]) == (200, "info")
    with capture_logs() as logs:
        log_registrations(results[:1])
    assert [line["log_level"] for line in logs] == ["info"]


def test_instants_are_written_in_one_place() -> None:
    """As `…Z`: what formats them by itself writes `+00:00`. Queries to the API are the API's."""
    root = Path(poller.__file__).parent
    found = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if ".isoformat(" in path.read_text(encoding="utf-8")
    }
    assert found == {"comms/client.py", "simulator/instants.py", "tracking/event.py"}
