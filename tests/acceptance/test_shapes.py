"""Every kind in each shape that the vendor's documents show: a whole daemon, in this process."""

import json
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
from pydantic import SecretStr

from poller.clock import wall_clock
from poller.comms.client import CommsClient
from poller.comms.credentials import Credentials
from poller.comms.kinds import KINDS
from poller.comms.throttle import Throttle
from poller.engine.configuration import Configuration, SinkPlan
from poller.engine.daemon import Daemon
from poller.http.route import Route
from poller.http.transport import open_transport
from poller.simulator import Scenario, SimulatorConfig, World, serve
from poller.sinks.base import OutgoingEvent, SinkOutcome, SinkVerdict
from poller.store.store import Store
from poller.tracking.delivery import Subscription
from poller.tracking.pacing import Policy
from poller.tracking.progress import read_progress
from poller.tracking.registration import Registration
from poller.tracking.watch import AccountScope
from tests.acceptance.breakdowns import check_breakdown
from tests.oracle import check_promises

pytestmark = [pytest.mark.acceptance, pytest.mark.anyio]

# Together they hold every shape once; what they change does not overlap.
RUNS: Final = (
    ("cumulative", "page-urls"),
    ("ends-at-sent", "guide-lists", "page-tokens"),
    ("cumulative", "guide-lists", "meta-urls"),
)
SMALL: Final = (40, "troubled")
LARGE: Final = (1200, Scenario(read=0.05, undelivered=0.05, failed=0.85))
"""What failed of it takes two pages, which are read the same way for every kind."""
SENDS: Final[Sequence[tuple[str, int, Scenario | str]]] = (
    *((kind, *SMALL) for kind in KINDS for _ in range(3)),
    ("messages", *LARGE),
)

POLICY: Final = Policy(
    min_interval=0.05, max_interval=0.4, progress_interval=0.2, settle=3600, breakdown=True
)


class ListSink:
    """Keeps every event."""

    name = "list"
    concurrency = 1
    batch_size = 100
    deadline = 60.0

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    @property
    def is_closed(self) -> bool:
        """Never."""
        return False

    async def start(self) -> None:
        """Nothing to open."""

    async def recall(self, event_ids: Collection[str]) -> frozenset[str]:  # noqa: ARG002 - the protocol's
        """Nothing was delivered before."""
        return frozenset()

    async def deliver(self, batch: Sequence[OutgoingEvent]) -> Sequence[SinkOutcome]:
        """Keep them."""
        self.events += [json.loads(one.body) for one in batch]
        return [SinkOutcome(verdict=SinkVerdict.DELIVERED) for _ in batch]

    async def reopen(self) -> None:
        """Nothing to reopen."""

    async def aclose(self) -> None:
        """Nothing to close."""


def _client(config: SimulatorConfig, base_url: str) -> CommsClient:
    return CommsClient(
        base_url=base_url,
        credentials=_credentials(config),
        timeout=30.0,
        max_connections=4,
        transport=open_transport(Route.direct(base_url), max_connections=4),
        now=wall_clock,
    )


def _credentials(config: SimulatorConfig) -> Credentials:
    return Credentials(username=config.account_sid, password=SecretStr(config.auth_token))


async def _watch(world: World, base_url: str, directory: Path) -> list[dict[str, Any]]:
    """Watch some small sends of every kind, and a large one, to their ends; all events."""
    sink = ListSink()
    scope = AccountScope(account=world.config.account_sid, base_url=base_url)
    sent = [
        world.send(recipients=recipients, kind=kind, fate=fate) for kind, recipients, fate in SENDS
    ]
    configuration = Configuration(
        scope=scope,
        policy=POLICY,
        credentials=lambda: _credentials(world.config),
        sinks=[
            SinkPlan(
                subscription=Subscription(sink=sink.name, events=("*",), labels={}),
                key=sink.name,
                make=lambda: sink,
            )
        ],
        retention=3600.0,
        shutdown_grace=5.0,
        request_timeout=30.0,
    )
    store = await Store.open(f"sqlite:///{directory / 'poller.db'}", scope, now=wall_clock)
    async with _client(world.config, base_url) as client:
        daemon = Daemon(
            store=store,
            client=client,
            throttle=Throttle(
                max_concurrency=4, requests_per_second=200, probe_interval=1, now=wall_clock
            ),
            configuration=configuration,
            now=wall_clock,
            until_idle=True,
        )
        await daemon.open()
        await daemon.register([Registration(id=one.id, kind=one.kind.name) for one in sent])
        daemon.registered_all()
        await daemon.run()
    await store.aclose()
    return sink.events


async def _listed(client: CommsClient, kind: str) -> list[str]:
    """Page through the operations of a kind, two at a time."""
    found: list[str] = []
    token: str | None = None
    for _ in SENDS:
        page = await client.list_operations(KINDS[kind], page_token=token, page_size=2)
        found += [one.id for one in page.operations]
        if (token := page.next_token) is None:
            break
    return found


@pytest.mark.parametrize("shapes", RUNS, ids="+".join)
async def test_every_kind_ends_in_every_shape(shapes: tuple[str, ...], tmp_path: Path) -> None:
    """All of it settles by itself, long before its deadline, and says exactly what failed."""
    config = SimulatorConfig(seed=7, speed=400, shapes=shapes)
    world = World(config)
    async with anyio.create_task_group() as tasks:
        base_url = await tasks.start(partial(serve, config, world=world))
        with anyio.fail_after(120):
            events = await _watch(world, base_url, tmp_path)
        async with _client(config, base_url) as client:
            listed = {kind: await _listed(client, kind) for kind in KINDS}
        tasks.cancel_scope.cancel()
    check_promises(events)
    finals = [event for event in events if event["data"]["final"]]
    assert {event["type"] for event in finals} == {"operation.settled"}
    for event in finals:
        kind = KINDS[event["data"]["kind"]]
        assert event["subject"] in listed[kind.name]
        stats = event["data"]["operation"]["stats"]
        progress = read_progress(kind, stats)
        assert (progress.done, progress.open) == (stats["total"], 0)
        assert progress.is_cumulative == ("cumulative" in shapes and "sent" in kind.counters)
        assert ("delivered" in stats) == (
            kind.name != "sender-pools"
            and ("ends-at-sent" not in shapes or kind.name != "push-notifications")
        )
        check_breakdown(events, world.expected(event["subject"]).document(), kind)
    assert len(finals) == len(SENDS)
