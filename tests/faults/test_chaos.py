"""Everything at once: an API that fails, a line that breaks, a webhook that does both.

`FAULT_SEED=…` repeats a run: the same faults are drawn in the same order. What meets which
request still depends on the scheduling of threads and sockets.
"""

import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio
import httpx
import pytest
from pydantic import SecretStr

from poller.comms.client import CommsClient
from poller.comms.credentials import Credentials
from poller.comms.throttle import Throttle
from poller.engine.configuration import Configuration
from poller.engine.daemon import Daemon, Stop
from poller.engine.meter import Meter
from poller.server.metrics import PrometheusMeter
from poller.simulator import SCENARIOS, SimulatorConfig, World, serve
from poller.store.store import Store
from poller.tracking.pacing import Policy
from poller.tracking.watch import AccountScope
from tests.fakes.event_files import read_events
from tests.fakes.receiver import Answer, Receiver
from tests.fakes.tcp import TcpProxy, Weather
from tests.fakes.tls import NO_TLS
from tests.faults.conftest import Witness
from tests.faults.stage import (
    SECRET,
    Clock,
    Event,
    accepted,
    file_plan,
    registration,
    webhook_plan,
)
from tests.oracle import check_promises

pytestmark = pytest.mark.anyio

MOST_AT_ONCE: Final = 4
A_SECOND: Final = 25.0
_KINDS: Final = ("messages", "messages", "emails")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordeal:
    """How much, and how bad: `api` is the share of each of the simulator's five faults.

    `sweep` reads lists, which costs far fewer requests; without it there is more to go wrong.
    """

    operations: int
    api: float
    line: float
    webhook: float
    speed: float
    sweep: bool


def seed_of_run() -> int:
    """Return the seed to use, and print it, for a failure to be repeated."""
    seed = int(os.environ.get("FAULT_SEED") or random.SystemRandom().getrandbits(32))
    print(f"FAULT_SEED={seed}")  # noqa: T201 - pytest shows it with a failure
    return seed


def moods(seed: int, share: float) -> Callable[[int], Answer]:
    """Make a receiver that answers badly for this share of requests, by their number."""
    bad = (
        Answer(status=500),
        Answer(status=503, headers={"retry-after": "1"}),
        Answer(status=302, headers={"location": "/elsewhere"}),
        Answer(reset=True),
        Answer(raw=b"\x00\x01 not HTTP at all\r\n\r\n"),
        Answer(delay=0.3),
        Answer(status=200, body=b"half", truncate=True),
    )

    def answer(number: int) -> Answer:
        chance = random.Random(f"{seed}:hook:{number}")  # noqa: S311 - has to repeat, not to be secret
        return chance.choice(bad) if chance.random() < share else Answer()

    return answer


@asynccontextmanager
async def simulated(seed: int, ordeal: Ordeal) -> AsyncIterator[tuple[str, SimulatorConfig, World]]:
    """Serve a simulator with all its faults; gives its base URL."""
    config = SimulatorConfig(
        seed=seed,
        speed=ordeal.speed,
        rate_429=ordeal.api,
        rate_500=ordeal.api,
        rate_503=ordeal.api,
        rate_slow=ordeal.api,
        rate_broken=ordeal.api,
        slow_seconds=0.3,
        retry_after=1,
    )
    world = World(config)
    async with anyio.create_task_group() as tasks:
        yield await tasks.start(lambda **to: serve(config, world=world, **to)), config, world
        tasks.cancel_scope.cancel()


async def endure(
    ordeal: Ordeal, seed: int, directory: Path, witness: Witness
) -> tuple[list[Event], list[Event], dict[str, Any]]:
    """Watch operations until all is idle; what file and webhook have, and the statistics."""
    clock = Clock()
    async with simulated(seed, ordeal) as (url, config, world):
        witness.keep_secret(config.auth_token)
        fates = sorted(SCENARIOS)
        made = [
            world.send(
                recipients=40 + number,
                fate=fates[number % len(fates)],
                kind=_KINDS[number % len(_KINDS)],
            )
            for number in range(ordeal.operations)
        ]
        with (
            Receiver(secret=SECRET, default=moods(seed, ordeal.webhook)) as receiver,
            TcpProxy(url, weather=_weather(seed, ordeal.line)) as line,
            TcpProxy(receiver.url, weather=_weather(seed + 1, ordeal.line)) as hook,
        ):
            path = directory / "events.ndjson"
            home = AccountScope(account=config.account_sid, base_url=line.url)
            credentials = Credentials(
                username=config.account_sid, password=SecretStr(config.auth_token)
            )
            configuration = Configuration(
                scope=home,
                policy=Policy(min_interval=0.1, max_interval=1.0, progress_interval=0.3),
                credentials=lambda: credentials,
                sinks=[file_plan(path), webhook_plan(hook.url, clock)],
                retention=604_800.0,
                shutdown_grace=5.0,
                request_timeout=1.0,
                sweep=ordeal.sweep,
            )
            registrations = [registration(one.id, one.kind.name) for one in made]
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_hurry, clock, path, len(made), receiver, hook)
                daemon = await _until_idle(configuration, registrations, directory, clock, seed)
                tasks.cancel_scope.cancel()
            assert daemon.reason is Stop.IDLE
            assert {request.signature for request in receiver.received} == {"good"}
            got = accepted(receiver.received)
            print("line", dict(line.met), "hook", dict(hook.met))  # noqa: T201 - as above
        async with httpx.AsyncClient(trust_env=False, verify=NO_TLS) as client:
            stats = await client.get(url.removesuffix("/v1") + "/_simulator/stats")
    return read_events(path), got, stats.json()


async def _hurry(
    clock: Clock, path: Path, operations: int, receiver: Receiver, hook: TcpProxy
) -> None:
    """Once everything has ended let the waits for the webhook pass, and in the end the trouble.

    Waits double: without this a single unlucky event would take minutes.
    """
    ended = 0
    while ended < operations:
        await anyio.sleep(0.1)
        ended = sum(event["data"]["final"] for event in read_events(path))
    for _ in range(60):
        clock.jump(1)
        await anyio.sleep(0.1)
    receiver.answer_always(Answer())
    hook.weather = Weather()
    while True:
        clock.jump(1)
        await anyio.sleep(0.1)


async def _until_idle(
    configuration: Configuration, registrations: list[Any], directory: Path, clock: Clock, seed: int
) -> Daemon:
    store = await Store.open(
        f"sqlite:///{directory / 'poller.db'}",
        configuration.scope,
        now=clock,
        random=random.Random(seed),  # noqa: S311 - jitter
    )
    client = CommsClient(
        base_url=configuration.scope.base_url,
        credentials=configuration.credentials(),
        timeout=configuration.request_timeout,
        max_connections=MOST_AT_ONCE,
        now=clock,
    )
    throttle = Throttle(
        max_concurrency=MOST_AT_ONCE,
        requests_per_second=A_SECOND,
        probe_interval=configuration.policy.max_interval,
        now=clock,
    )
    daemon = Daemon(
        store=store,
        client=client,
        throttle=throttle,
        configuration=configuration,
        now=clock,
        until_idle=True,
        meter=Meter(PrometheusMeter()),
    )
    try:
        await daemon.register(registrations)
        daemon.registered_all()
        await daemon.open()
        await daemon.run()
    finally:
        await client.aclose()
        await store.aclose()
    return daemon


def _weather(seed: int, rate: float) -> Weather:
    return Weather(seed=seed, rate=rate, delay=0.2, stall=2.5)


def _by_operation(events: list[Event]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for event in events:
        found.setdefault(event["subject"], []).append(event["id"])
    return found


async def _prove(ordeal: Ordeal, seed: int, directory: Path, witness: Witness) -> None:
    begun = time.monotonic()
    written, posted, stats = await endure(ordeal, seed, directory, witness)
    print(f"{time.monotonic() - begun:.1f} s", stats)  # noqa: T201 - as above
    check_promises(written)
    check_promises(posted)
    assert _by_operation(written) == _by_operation(posted)
    ends = Counter(event["type"] for event in written if event["data"]["final"])
    assert ends.keys() == {"operation.completed", "operation.canceled"}
    assert ends.total() == ordeal.operations
    assert stats["peak_concurrency"] <= MOST_AT_ONCE
    assert stats["peak_rate"] <= A_SECOND + 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "ordeal",
    [
        pytest.param(
            Ordeal(operations=20, api=0.1, line=0.12, webhook=0.3, speed=4.0, sweep=True),
            id="sweep",
        ),
        pytest.param(
            Ordeal(operations=20, api=0.1, line=0.12, webhook=0.3, speed=8.0, sweep=False),
            id="fetch",
        ),
    ],
)
async def test_chaos(tmp_path: Path, witness: Witness, ordeal: Ordeal) -> None:
    """Everything ends, the sinks agree, deltas add up, nothing is missing, the limits are kept."""
    with anyio.fail_after(60):
        await _prove(ordeal, seed_of_run(), tmp_path, witness)


@pytest.mark.soak
async def test_chaos_for_long(tmp_path: Path, witness: Witness) -> None:
    """The same with more and longer operations, worse faults, and again and again."""
    seconds = float(os.environ.get("SOAK_SECONDS") or 300)
    seed, rounds, begun = seed_of_run(), 0, time.monotonic()
    while time.monotonic() - begun < seconds:
        directory = tmp_path / str(rounds)
        directory.mkdir()
        print(f"round {rounds}: seed {seed + rounds}")  # noqa: T201 - as above
        ordeal = Ordeal(
            operations=60, api=0.15, line=0.2, webhook=0.5, speed=0.5, sweep=bool(rounds % 2)
        )
        await _prove(ordeal, seed + rounds, directory, witness)
        rounds += 1
