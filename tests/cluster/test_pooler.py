"""Daemons behind PgBouncer in transaction mode, in processes of their own."""

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cluster.fleet import Fleet
from tests.fakes.api import FakeApi, operation_id
from tests.fakes.process import eventually
from tests.fakes.receiver import Receiver
from tests.faults.stage import accepted, campaign
from tests.oracle import check_promises
from tests.store.cluster import Cluster, NoServer
from tests.store.pooler import pooling

pytestmark = pytest.mark.slow

EACH = 30


@pytest.fixture
def fleet(cluster: Cluster, api: FakeApi, tmp_path: Path) -> Iterator[Fleet]:
    """Return what starts daemons that share three connections to a database."""
    name = cluster.create()
    with ExitStack() as stack:
        try:
            port = stack.enter_context(pooling(cluster, connections=3))
        except NoServer as missing:
            if os.environ.get("POLLER_TEST_REQUIRE_POSTGRES") == "1":
                pytest.fail(f"POLLER_TEST_REQUIRE_POSTGRES is 1, but {missing}")
            pytest.skip(f"no PgBouncer: {missing}")
        with ExitStack() as processes:
            url = f"postgresql://poller@127.0.0.1:{port}/{name}"
            yield Fleet(url, api, tmp_path, processes)
    cluster.drop(name)


def test_daemons_behind_a_pooler(fleet: Fleet, api: FakeApi) -> None:
    """Each event arrives once; after a kill none is lost, and only what was under way comes again.

    The other daemon ends what the killed one watched.
    """
    with Receiver() as receiver:
        settings = {
            "api__requests_per_second": "100",
            "api__timeout": "2s",
            "polling__sweep": "off",
            "polling__min_interval": "200ms",
            "polling__max_interval": "500ms",
            "sinks": json.dumps({"app": {"type": "webhook", "url": receiver.url, "timeout": "2s"}}),
        }
        first, second = fleet.start(2, **settings)
        early = script(api, range(EACH))
        first.register(early[::2])
        second.register(early[1::2])
        eventually(lambda: finals(receiver) == set(early))
        eventually(lambda: first.ask("GET", "/v1/sinks")["sinks"][0]["waiting"] == 0)
        assert set(Counter(event["id"] for event in receiver.events).values()) == {1}
        check_promises(receiver.events)
        late = script(api, range(EACH, 2 * EACH))
        asked = len(api.requests)
        first.register(late)
        eventually(lambda: len(api.requests) > asked + EACH)
        first.process.kill()
        # those that the killed one had leased are polled again when that is over
        eventually(lambda: finals(receiver) == {*early, *late}, timeout=60)
        assert second.process.stop() == 0
        check_promises(accepted(receiver.received))


def script(api: FakeApi, numbers: range) -> Sequence[str]:
    """Make operations that end after three changes; returns their ids."""
    return [api.script(one, campaign(one)) for one in map(operation_id, numbers)]


def finals(receiver: Receiver) -> set[str]:
    """Name the operations whose end has arrived."""
    return {event["subject"] for event in receiver.events if event["data"]["final"]}
