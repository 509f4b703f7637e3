"""Credentials, the concurrency limit and every fault, as a client sees them."""

from typing import Any

import anyio
import httpx
import pytest

from poller.simulator import Faults
from poller.simulator.gate import BROKEN, FaultSource, SimulatedFault
from tests.fakes.tls import NO_TLS
from tests.simulator.conftest import Simulator

pytestmark = pytest.mark.anyio

PATH = "/Messages/Operations"


async def turn(simulator: Simulator, **faults: float) -> Any:  # noqa: ANN401 - JSON
    """Turn faults while the simulator runs."""
    return await simulator.control("PUT", "faults", faults)


@pytest.mark.parametrize(
    "authorization", ["", "Basic", "Basic ###", "Basic /w==", "Basic YTpi", "Bearer x"]
)
@pytest.mark.parametrize("path", [PATH, "/Nothing"])
async def test_wrong_credentials_are_refused(
    simulator: Simulator, authorization: str, path: str
) -> None:
    """Every route answers 401 in the envelope and asks for Basic."""
    async with httpx.AsyncClient(trust_env=False, verify=NO_TLS) as stranger:
        refused = await stranger.get(simulator.url + path, headers={"authorization": authorization})
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Basic ")
    assert refused.json()["errors"][0]["code"] == 20003


async def test_an_api_key_is_accepted(simulator: Simulator) -> None:
    """The key and its secret do as well as account and token."""
    auth = (simulator.config.api_key, simulator.config.api_secret)
    answer = await simulator.client.get(simulator.url + PATH, auth=auth)
    assert answer.status_code == 200
    assert answer.headers["twilio-concurrent-requests"] == "1"


@pytest.mark.parametrize(
    ("rate", "status", "retry_after"),
    [("rate_429", 429, "3"), ("rate_500", 500, None), ("rate_503", 503, "3")],
)
async def test_refusals(
    simulator: Simulator, rate: str, status: int, retry_after: str | None
) -> None:
    """429 and 503 carry `Retry-After` in whole seconds; each has the vendor's code."""
    await turn(simulator, **{rate: 1.0, "retry_after": 2.5})
    refused = await simulator.client.get(simulator.url + PATH)
    assert refused.status_code == status
    assert refused.headers.get("retry-after") == retry_after
    assert refused.json()["errors"][0]["code"] == {429: 20429, 500: 20500, 503: 20503}[status]


async def test_a_refused_send_is_not_processed(simulator: Simulator) -> None:
    """After a 429 there is no operation."""
    await turn(simulator, rate_429=1.0)
    body = {"to": [{"address": "+14155550100"}], "content": {"text": "Hi"}}
    refused = await simulator.client.post(f"{simulator.url}/Messages", json=body)
    assert refused.status_code == 429
    assert list(simulator.world.newest_first("messages")) == []


async def test_broken_answers_of_every_sort(simulator: Simulator) -> None:
    """HTML, nothing, half of the JSON, and a reset connection; the request may have worked."""
    await turn(simulator, rate_broken=1.0)
    body = {"to": [{"address": "+14155550100"}], "content": {"text": "Hi"}}
    seen: set[str] = set()
    for _ in range(40):
        try:
            answer = await simulator.client.post(f"{simulator.url}/Messages", json=body)
        except httpx.ReadError:
            seen.add("reset")
            continue
        if answer.status_code == 502:
            assert "html" in answer.headers["content-type"]
            seen.add("html")
        else:
            assert answer.status_code == 202
            assert "}" not in answer.text
            assert ("operation-id" in answer.headers) == bool(answer.content)
            seen.add("truncated" if answer.content else "empty")
    assert seen == {"reset", "html", "truncated", "empty"}
    outcomes = (await simulator.control("GET", "stats"))["requests"]["POST /v1/Messages"]
    assert set(outcomes) == {"502", "202 empty", "202 truncated", "reset"}
    processed = len(list(simulator.world.newest_first("messages")))
    assert processed == 40 - outcomes["502"]


async def test_slow_answers_fill_the_account(simulator: Simulator) -> None:
    """More requests at once than the limit are refused with 20429, and counted as such."""
    await turn(simulator, rate_slow=1.0, slow_seconds=0.4, max_concurrency=3)
    statuses: list[int] = []

    async def fetch() -> None:
        answer = await simulator.client.get(simulator.url + PATH)
        statuses.append(answer.status_code)

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(fetch)
    assert sorted(statuses) == [200, 200, 200, 429, 429]
    stats = await simulator.control("GET", "stats")
    assert stats["peak_concurrency"] in {4, 5}  # those that are refused do not stay
    assert stats["in_flight"] == 0
    assert stats["peak_rate"] == stats["total"] == 5
    assert stats["requests"] == {f"GET /v1{PATH}": {"200": 3, "429": 2}}


async def test_counters_begin_again(simulator: Simulator) -> None:
    """The simulator's own routes are not counted; ids do not multiply routes."""
    for name in ("comms_operation_01h9krwprkeee8fzqspvwy6nq8", "comms_operation_x"):
        await simulator.client.get(f"{simulator.url}{PATH}/{name}")
    await simulator.client.get(f"{simulator.url}/any/thing")
    stats = await simulator.control("GET", "stats")
    assert stats["requests"] == {
        f"GET /v1{PATH}/{{id}}": {"400": 1, "404": 1},
        "unknown": {"404": 1},
    }
    assert (await simulator.control("DELETE", "stats"))["total"] == 0


async def test_faults_are_shown_and_checked(simulator: Simulator) -> None:
    """What is not named stays; what is wrong changes nothing and is named."""
    assert (await turn(simulator, rate_500=0.5))["rate_500"] == 0.5
    after = await turn(simulator, rate_429=0.25)
    assert (after["rate_500"], after["rate_429"]) == (0.5, 0.25)
    for wrong in ({"rate_404": 1}, {"rate_500": 2}, {"rate_503": 0.9}, {"rate_500": "1"}, [1]):
        await simulator.control("PUT", "faults", wrong, status=400)
    assert await simulator.control("GET", "faults") == after


async def test_sample_operations_and_cancellation(simulator: Simulator) -> None:
    """Operations are made in bulk and canceled by the simulator's own routes."""
    wanted = {"count": 3, "recipients": 50, "fate": "smooth", "kind": "emails"}
    made = (await simulator.control("POST", "operations", wanted))["operationIds"]
    assert len(made) == 3
    assert len((await simulator.get("/Emails/Operations"))["operations"]) == 3
    canceled = await simulator.control("POST", f"operations/{made[0]}/cancel")
    assert canceled["status"] == "CANCELED"
    assert canceled["stats"]["canceled"] == 50
    await simulator.control("POST", f"operations/{made[0]}/cancel", status=409)
    await simulator.control("POST", "operations/none/cancel", status=404)
    for wrong in ({"count": 0}, {"recipients": 0}, {"recipients": "x"}, {"fate": 1}, {"a": 1}):
        await simulator.control("POST", "operations", wrong, status=400)


async def test_faults_repeat_with_the_seed() -> None:
    """The same seed meets the same faults, at about the rates that were asked for."""
    faults = Faults(rate_429=0.2, rate_slow=0.1, rate_broken=0.3)

    def row(seed: int) -> list[SimulatedFault | None]:
        source = FaultSource(seed)
        return [source.draw(faults) for _ in range(2000)]

    drawn = row(1)
    assert drawn == row(1) != row(2)
    assert 320 < drawn.count(SimulatedFault.TOO_MANY) < 480
    assert 130 < drawn.count(SimulatedFault.SLOW) < 270
    assert 500 < sum(each in BROKEN for each in drawn) < 700
    assert FaultSource(1).draw(Faults()) is None
