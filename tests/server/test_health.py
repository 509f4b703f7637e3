"""Health: what a probe learns, and what it does not have to suffer for."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from poller.addresses import TcpAddress
from poller.comms.errors import CommsError, Forbidden, Throttled, Unauthorized
from poller.tracking.delivery import AttemptResult
from tests.fakes.tls import NO_TLS
from tests.server.conftest import Build
from tests.server.served import ServedDaemon
from tests.store.scenes import declare, op

pytestmark = pytest.mark.anyio


async def probe(
    server: ServedDaemon, path: str, *, until: Callable[[Any], bool]
) -> tuple[int, Any]:
    """Ask until the answer is as wanted."""
    with anyio.fail_after(20):
        while True:
            answer = await server.client.get(path)
            if until(answer.json()):
                return answer.status_code, answer.json()
            await anyio.sleep(0.05)


async def test_healthy_while_the_loops_turn(build: Build) -> None:
    """200 with every loop by name, once all have turned."""
    async with build(loops=True) as server:
        status, health = await probe(
            server, "/healthz", until=lambda found: found["status"] == "ok"
        )
        assert status == 200
        assert {loop["name"] for loop in health["loops"]} >= {"poll", "housekeeping"}
        assert all(loop["turning"] for loop in health["loops"])


async def test_unhealthy_where_a_loop_hangs(server: ServedDaemon) -> None:
    """503 that names the loop which was never heard of, and not ready either."""
    answer = await server.client.get("/healthz")
    assert answer.status_code == 503
    assert answer.json()["status"] == "hanging"
    assert {"name": "poll", "turning": False, "secondsSinceTurn": None} in answer.json()["loops"]
    ready = await server.client.get("/readyz")
    assert ready.status_code == 503
    assert "housekeeping, poll" in ready.json()["reason"]


async def test_ready_where_a_registration_could_be_acknowledged(build: Build) -> None:
    """200 and nothing degraded."""
    async with build(loops=True) as server:
        status, found = await probe(server, "/readyz", until=lambda found: found["reason"] is None)
        assert (status, found) == (
            200,
            {"status": "ready", "version": "1", "reason": None, "degraded": []},
        )


async def test_a_store_that_takes_no_writes_is_not_ready(build: Build, tmp_path: Path) -> None:
    """503 with the store's own words; 200 again once it takes writes."""
    async with build(loops=True) as server:
        await probe(server, "/readyz", until=lambda found: found["reason"] is None)
        with closing(sqlite3.connect(tmp_path / "poller.db")) as other:
            other.execute("PRAGMA query_only = 0")
            other.execute(
                "CREATE TRIGGER refuse BEFORE UPDATE ON counters "
                "BEGIN SELECT RAISE(FAIL, 'the disk is full'); END"
            )
            other.commit()
            status, found = await probe(
                server, "/readyz", until=lambda found: found["reason"] is not None
            )
            assert status == 503
            assert "the disk is full" in found["reason"]
            other.execute("DROP TRIGGER refuse")
            other.commit()
        status, _ = await probe(server, "/readyz", until=lambda found: found["reason"] is None)
        assert status == 200


@pytest.mark.parametrize(
    ("error", "what", "hint"),
    [
        (Unauthorized("fetch", "401", status=401), "credentials", "SIGHUP"),
        (Forbidden("fetch", "403", status=403), "permission of messages", "403"),
        (
            Throttled("fetch", "429", status=429, retry_after=60.0),
            "throttle",
            "2026-11-22T10:01:00.000Z",
        ),
    ],
    ids=["401", "403", "429"],
)
async def test_trouble_with_the_api_is_degraded_and_ready(
    build: Build,
    error: CommsError,
    what: str,
    hint: str,
) -> None:
    """200 all the same, with what, since and a hint: a restart would repair nothing."""
    async with build(loops=True) as server:
        await server.throttle.admit()
        ticket = server.throttle.begin("messages")
        assert ticket is not None
        server.throttle.finish(ticket, error)
        status, found = await probe(server, "/readyz", until=lambda found: found["reason"] is None)
        assert (status, found["status"]) == (200, "degraded")
        [trouble] = found["degraded"]
        assert trouble["what"] == what
        assert trouble["since"] == "2026-11-22T10:00:00.000Z"
        assert hint in trouble["hint"]


async def test_trouble_with_a_sink_is_degraded_and_ready(build: Build) -> None:
    """A sink that fails, and one that nobody configures, are named with their errors."""
    async with build(loops=True) as server:
        await server.store.configure_sinks(declare("app", "old"))
        await server.scene.register(op(1))
        await server.record(op(1), "PROCESSING")
        [claim] = await server.scene.deliveries("app")
        await server.scene.settle([claim], AttemptResult.FAILED, status=503, error="answered 503")
        status, found = await probe(server, "/readyz", until=lambda found: found["degraded"])
        assert status == 200
        [trouble] = found["degraded"]
        assert trouble["what"] == "sink app"
        assert "answered 503" in trouble["hint"]


async def test_a_daemon_that_stops_is_not_ready(build: Build) -> None:
    """503 from the moment it is asked to stop."""
    async with build(loops=True) as server:
        await probe(server, "/readyz", until=lambda found: found["reason"] is None)
        server.daemon.stop()
        status, found = await probe(server, "/readyz", until=lambda found: found["reason"])
        assert (status, found["reason"]) == (503, "the daemon is stopping")


async def test_the_observer_has_the_health_routes_only(build: Build) -> None:
    """No token is asked for there, and nothing else is shown."""
    observe = TcpAddress(host="127.0.0.1", port=0)

    async def page(_accept: str | None) -> tuple[bytes, str]:
        return b"# EOF\n", "text/x"

    async with build(observe=observe, token="t", metrics=page) as server:
        assert server.bound.observe is not None
        async with httpx.AsyncClient(
            base_url=server.bound.observe, trust_env=False, verify=NO_TLS
        ) as observer:
            assert (await observer.get("/healthz")).json()["version"] == "1"
            assert (await observer.get("/readyz")).status_code == 503
            metrics = await observer.get("/metrics")
            assert (metrics.content, metrics.headers["content-type"]) == (b"# EOF\n", "text/x")
            for path in ("/v1/operations", "/v1/sinks", "/openapi.json", "/"):
                answer = await observer.get(path)
                assert answer.status_code == 404
                assert answer.headers["content-type"] == "application/problem+json"


async def test_the_observer_may_stand_alone(build: Build) -> None:
    """Without a control API there are still probes."""
    async with build(address=None, observe=TcpAddress(host="127.0.0.1", port=0)) as server:
        assert server.bound.address is None
        assert (await server.client.get("/healthz")).status_code == 503
