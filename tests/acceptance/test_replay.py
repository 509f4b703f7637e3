"""`poller replay` beside a running daemon: the event comes again, under its own id."""

from pathlib import Path

import pytest

from tests.fakes.api import FakeApi, operation, operation_id
from tests.fakes.process import Poller, eventually, poller
from tests.fakes.receiver import Answer, Receiver

pytestmark = pytest.mark.acceptance


def test_a_kept_event_is_sent_again(tmp_path: Path) -> None:
    """A delivered event goes out again at once, to the sink that was named and to no other."""
    name = operation_id(1)
    with FakeApi() as api, Receiver() as receiver:
        api.script(name, [operation(name, "COMPLETED", delivered=1)])
        variables = {
            **api.environment,
            "POLLER_SINKS__OUT__TYPE": "stdout",
            "POLLER_SINKS__APP__TYPE": "webhook",
            "POLLER_SINKS__APP__URL": receiver.url,
        }
        with Poller("run", name, cwd=tmp_path, environment=variables) as daemon:
            (first,) = receiver.wait_for(1)
            done = poller(
                *("replay", first.event["id"], "--to", "app"), cwd=tmp_path, environment=variables
            )
            assert (done.returncode, done.stdout) == (0, "app: 1 event replayed\n"), done.stderr
            assert done.stderr == ""
            again = receiver.wait_for(2)[1]
            assert daemon.stop() == 0
    assert again.event == first.event
    assert [event["id"] for event in daemon.events] == [first.event["id"]]


def test_a_disabled_sink_is_enabled(tmp_path: Path) -> None:
    """What a 410 held up goes out once its event is replayed, in order."""
    name = operation_id(1)
    with FakeApi() as api, Receiver(script=[Answer(status=410)]) as receiver:
        api.script(name, [operation(name, "COMPLETED", delivered=1)])
        variables = {
            **api.environment,
            "POLLER_SINKS__OUT__TYPE": "stdout",
            "POLLER_SINKS__APP__TYPE": "webhook",
            "POLLER_SINKS__APP__URL": receiver.url,
        }
        with Poller("run", name, cwd=tmp_path, environment=variables) as daemon:
            (refused,) = receiver.wait_for(1)
            eventually(lambda: bool(daemon.logged("sink.disabled")))
            event_id = refused.event["id"]
            assert poller("replay", event_id, cwd=tmp_path, environment=variables).returncode == 0
            receiver.wait_until(lambda received: any(one.accepted for one in received))
            assert daemon.stop() == 0
    assert {event["id"] for event in receiver.events} == {event_id}
