"""The daemon as it is without any setting but the credentials: everything that can be watched."""

import json
from pathlib import Path

import httpx
import pytest

from poller.comms.kinds import KINDS
from poller.simulator.messages import MessageView
from poller.simulator.operations import SimulatedOperation
from poller.simulator.scenarios import Scenario
from tests.acceptance.breakdowns import verify
from tests.fakes.process import Poller, eventually
from tests.fakes.simulated import Simulated
from tests.fakes.tls import NO_TLS

pytestmark = pytest.mark.acceptance

# fewer seconds, nothing else
FAST = {
    "POLLER_POLLING__MIN_INTERVAL": "50ms",
    "POLLER_POLLING__MAX_INTERVAL": "200ms",
    "POLLER_POLLING__PROGRESS_INTERVAL": "0s",
    "POLLER_POLLING__SETTLE": "2s",
}
TROUBLED = Scenario(failed=0.2, undelivered=0.2)


def message_of(simulator: Simulated, operation: SimulatedOperation) -> str:
    """Return the id of the first message of an operation."""
    now, seed = simulator.world.now(), simulator.config.seed
    return MessageView.of(operation, seed=seed, now=now, base_url="").id_of(0)


def test_all_that_can_be_watched_logs_no_trouble(tmp_path: Path) -> None:
    """Each kind with its breakdown, a message and a group, to their ends: counted and in peace."""
    with Simulated() as simulator:
        send = simulator.world.send
        names = {
            send(recipients=20, fate=TROUBLED, kind=kind.name).id: kind.name
            for kind in KINDS.values()
        }
        single = message_of(simulator, send(recipients=1, fate=Scenario(fallback=1.0)))
        group = message_of(simulator, send(recipients=5, group=5, fate=TROUBLED))
        names |= dict.fromkeys((single, group), "messages")
        variables = {**simulator.environment, **FAST}
        command = ("run", "--stdin", "--until-idle", "--breakdown")
        with Poller(*command, cwd=tmp_path, environment=variables, stdin=True) as daemon:
            for name, kind in names.items():
                daemon.say(json.dumps({"id": name, "kind": kind, "breakdown": True}))
            eventually(lambda: {event["subject"] for event in daemon.events} == set(names))
            simulator.advance(3)
            seen = len(daemon.out)
            eventually(lambda: len(daemon.out) > seen)
            simulator.advance(6000)
            address = daemon.logged("server.listening")[0]["address"]
            finals = {*names}
            eventually(
                lambda: finals == {one["subject"] for one in daemon.events if one["data"]["final"]}
            )
            page = httpx.get(f"{address}/metrics", trust_env=False, verify=NO_TLS).text
            daemon.end_input()
            assert daemon.wait() == 0
    assert [line for line in daemon.logs if line["level"] not in {"info", "debug"}] == []
    assert all(line.startswith("{") for line in daemon.err)
    verify("".join(daemon.out), cwd=tmp_path)
    for name, kind in names.items():
        types = {event["type"] for event in daemon.events if event["subject"] == name}
        last = "message.settled" if name in {single, group} else "operation.breakdown"
        assert last in types, (kind, types)
        for one in types - {"operation.breakdown"}:
            assert f'comms_poller_events_total{{kind="{kind}",type="{one}"}}' in page
