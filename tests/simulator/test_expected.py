"""What a send has really come to, and that every reader of the API can find just that."""

from collections import Counter
from typing import Any

import pytest

from poller.simulator import SCENARIOS, ExpectedCounts, World
from poller.simulator.kinds import KINDS, SimulatedKind
from tests.simulator.conftest import Simulator, listed

pytestmark = pytest.mark.anyio

CODES = {30003: 250, 30005: 180, 30006: 130, 61337: 90, 21610: 50}


async def read(simulator: Simulator, kind: SimulatedKind, operation_id: str) -> dict[str, Any]:
    """Return what the API says of an operation, in the words of the truth."""
    errors = await listed(simulator, f"/{kind.path}/Operations/{operation_id}/Errors", pageSize=999)
    messages = []
    if kind.items is not None:
        messages = await listed(simulator, f"/{kind.path}", operationId=operation_id)
    return {
        "statuses": Counter(each["status"] for each in messages),
        "channels": {
            channel: Counter(
                each["status"] for each in messages if each["from"]["channel"] == channel
            )
            for channel in {each["from"]["channel"] for each in messages}
        },
        "codes": Counter(each["code"] for each in errors),
        "contexts": {
            code: [each["context"] for each in errors if each["code"] == code]
            for code in {each["code"] for each in errors}
        },
    }


def as_json(truth: ExpectedCounts) -> dict[str, Any]:
    """Return the same of the truth."""
    return {name: getattr(truth, name) for name in ("statuses", "channels", "codes", "contexts")}


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
@pytest.mark.parametrize("fate", SCENARIOS)
async def test_the_api_answers_agree_with_the_expected_counts(
    simulator: Simulator, kind: SimulatedKind, fate: str
) -> None:
    """At any time, of every kind and fate, its lists are what was counted one by one."""
    operation = simulator.world.send(recipients=100, fate=fate, kind=kind.name)
    for seconds in (0, 25, 300):
        simulator.clock.advance(seconds)
        expected = as_json(simulator.world.expected(operation.id))
        if kind.items is None:  # what became of them shows in the counters only
            expected |= {"statuses": {}, "channels": {}}
        assert await read(simulator, kind, operation.id) == expected


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
async def test_of_ten_thousand_seven_hundred_fail(
    simulator: Simulator, kind: SimulatedKind
) -> None:
    """Exact numbers of each of five codes, and the counters include them all."""
    operation = simulator.world.send(recipients=10_000, fate="failing", kind=kind.name)
    simulator.clock.advance(3600)
    truth = simulator.world.expected(operation.id)
    assert truth.codes == CODES
    assert {code: len(set(ids)) for code, ids in truth.contexts.items()} == CODES
    prefix = kind.item_prefix
    assert all(each.startswith(prefix) for ids in truth.contexts.values() for each in ids)
    stats = (await simulator.get(f"/{kind.path}/Operations/{operation.id}"))["stats"]
    assert stats["failed"] + stats.get("undelivered", 0) == 700
    assert truth.statuses["FAILED"] == stats["failed"]


async def test_messages_fail_on_several_channels(simulator: Simulator) -> None:
    """A recipient without RCS and without a fallback fails there; the others by SMS."""
    operation = simulator.world.send(recipients=10_000, fate="failing")
    simulator.clock.advance(3600)
    truth = simulator.world.expected(operation.id)
    assert truth.channels == {
        "RCS": {"FAILED": 90},
        "SMS": {"FAILED": 180, "UNDELIVERED": 430, "READ": 3000, "DELIVERED": 6300},
    }
    found = await listed(simulator, operationId=operation.id, status="FAILED", channel="RCS")
    assert [each["id"] for each in found] == truth.contexts[61337]
    message = await simulator.get(f"/Messages/{found[0]['id']}")
    (attempt,) = message["attempts"]
    assert (attempt["status"], attempt["error"]["code"]) == ("FAILED", 61337)


async def test_the_simulators_own_route_answers_the_expected_counts(simulator: Simulator) -> None:
    """In JSON, without credentials; 404 for an unknown operation."""
    wanted = {
        "recipients": 1000,
        "fate": {"codes": {"30007": 0.005}, "unaddressable": 0.001},
        "tags": {"campaign": "autumn"},
        "scheduled_in": 60,
    }
    (made,) = (await simulator.control("POST", "operations", wanted))["operationIds"]
    message, *_ = await listed(simulator, tags="campaign:autumn;", operationId=made)
    assert message["scheduledFor"] == "2026-11-22T10:01:00.000Z"
    simulator.clock.advance(600)
    document = await simulator.control("GET", f"operations/{made}/truth")
    assert document["codes"] == {"21612": 1, "30007": 5}
    assert document["statuses"] == document["receipts"] == {"DELIVERED": 994, "FAILED": 5}
    assert document["channels"] == {"SMS": {"DELIVERED": 994, "FAILED": 5}}
    assert len(document["contexts"]["30007"]) == 5
    assert document["contexts"]["21612"][0].startswith("to[")
    assert (document["operationId"], document["kind"]) == (made, "messages")
    await simulator.control("GET", "operations/none/truth", status=404)


@pytest.mark.parametrize(
    "wrong",
    [
        {"group": 0},
        {"group": "2"},
        {"group": 2, "kind": "emails"},
        {"tags": ["a"]},
        {"tags": {"a": 1}},
        {"scheduled_in": 0},
        {"scheduled_in": True},
        {"scheduled_in": 60, "kind": "sender-pools"},
        {"fate": {"doom": 1}},
        {"fate": {"failed": "1"}},
        {"fate": {"codes": [30003]}},
        {"fate": {"codes": {"x": 0.1}}},
    ],
)
async def test_a_wrong_sample_is_refused(simulator: Simulator, wrong: dict[str, Any]) -> None:
    """400 says what is wrong with it, and nothing is sent."""
    refused = await simulator.control("POST", "operations", wrong, status=400)
    assert any(name.split("_")[0] in refused["errors"][0]["message"] for name in wrong)
    assert (await simulator.get("/Messages/Operations"))["operations"] == []


async def test_groups_are_made_by_the_simulators_own_route(simulator: Simulator) -> None:
    """Recipients share one message."""
    wanted = {"recipients": 5, "group": 3, "fate": "smooth"}
    (made,) = (await simulator.control("POST", "operations", wanted))["operationIds"]
    simulator.clock.advance(300)
    truth = await simulator.control("GET", f"operations/{made}/truth")
    assert (truth["statuses"], truth["receipts"]) == ({"GROUP": 2}, {"DELIVERED": 5})


async def test_an_unknown_operation_has_no_truth(simulator: Simulator) -> None:
    """It is a `KeyError`, as with a cancellation."""
    world: World = simulator.world
    with pytest.raises(KeyError):
        world.expected("comms_operation_01h9krwprkeee8fzqspvwy6nq8")
