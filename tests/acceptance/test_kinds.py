"""Every kind of the table, from its registration to its breakdown, through the same test."""

import json
from pathlib import Path

import httpx
import jsonschema
import pytest

from poller.comms.kinds import KINDS, KindSpec
from poller.tracking.event import load_event_schema
from tests.acceptance.breakdowns import check_breakdown, verify
from tests.benchmarks.simulated import Simulated
from tests.fakes.process import Poller, eventually
from tests.fakes.tls import NO_TLS
from tests.oracle import check_promises

pytestmark = pytest.mark.acceptance

SPEED = 200
RECIPIENTS = 100
FAST = {
    "POLLER_API__REQUESTS_PER_SECOND": "100",
    "POLLER_POLLING__MIN_INTERVAL": "100ms",
    "POLLER_POLLING__MAX_INTERVAL": "500ms",
    "POLLER_POLLING__PROGRESS_INTERVAL": "0s",
    "POLLER_POLLING__SETTLE": "8s",
    "POLLER_POLLING__BREAKDOWN": "true",
    "POLLER_LOG__LEVEL": "debug",
    "POLLER_SERVER__LISTEN": "127.0.0.1:0",
}
EXPLAINED = "operation.breakdown"


def post(daemon: Poller, body: object) -> httpx.Response:
    """Register through the control API."""
    eventually(lambda: bool(daemon.logged("server.listening")))
    address = daemon.logged("server.listening")[0]["address"]
    return httpx.post(f"{address}/v1/operations", json=body, trust_env=False, verify=NO_TLS)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_kind_is_followed_from_its_registration_to_its_breakdown(
    kind: KindSpec, tmp_path: Path
) -> None:
    """Registered both ways or discovered, swept, to the end: all adds up, and says what failed."""
    with Simulated("--speed", str(SPEED), cwd=tmp_path) as simulator:
        sample = {"recipients": RECIPIENTS, "kind": kind.name, "fate": "troubled"}
        by_argument, one_by_api, *by_api = simulator.send(6, **sample)
        environment = {**simulator.environment, **FAST}
        command = ("run", "--discover", "--kind", kind.name, "--label", "by=argument", by_argument)
        with Poller(*command, cwd=tmp_path, environment=environment) as daemon:
            assert post(daemon, {"id": one_by_api, "kind": kind.name}).status_code in {200, 201}
            registrations = [
                {"id": name, "kind": kind.name, "labels": {"by": "api"}} for name in by_api
            ]
            assert post(daemon, {"operations": registrations}).status_code == 200
            strangers = simulator.send(2, **sample)
            names = {by_argument, one_by_api, *by_api, *strangers}
            eventually(lambda: sum(EXPLAINED in line for line in list(daemon.out)) == len(names))
            assert daemon.stop() == 0
        truths = {name: simulator.control("GET", f"operations/{name}/truth") for name in names}
        stats = simulator.stats()
    lists, fetches = (
        sum(stats["requests"].get(f"GET /v1/{kind.path}/{route}", {}).values())
        for route in ("Operations", "Operations/{id}")
    )
    assert lists > 0
    assert daemon.logged("sweep.done")
    # a page of a list answers for several operations: fewer requests than answers
    assert lists + fetches < len(daemon.logged("poll.answered"))
    assert {line["operation"] for line in daemon.logged("operation.discovered")} >= set(strangers)
    validator = jsonschema.Draft202012Validator(load_event_schema())
    for event in daemon.events:
        validator.validate(event)
        assert event["data"]["kind"] == kind.name
        assert f"/v1/{kind.path}/Operations/comms_operation_" in event["source"]
        assert set(event["data"]["operation"]["stats"]) <= kind.counters
    check_promises(daemon.events)
    for name in names:
        check_breakdown(daemon.events, truths[name], kind)
    verify("".join(daemon.out), cwd=tmp_path)
    finals = [event for event in daemon.events if event["data"]["final"]]
    assert {event["type"] for event in finals} == {"operation.settled"}
    assert json.loads(daemon.out[0])["data"]["labels"] in ({"by": "argument"}, {"by": "api"}, {})
