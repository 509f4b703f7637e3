"""A daemon at work and its page of metrics: scripted API and sink, real loops, real sockets."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import anyio
import httpx
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.samples import Sample
from pydantic import SecretStr

from poller.addresses import TcpAddress
from poller.clock import wall_clock
from poller.comms.client import CommsClient
from poller.comms.credentials import Credentials
from poller.comms.throttle import Throttle
from poller.engine.configuration import Configuration, SinkPlan
from poller.engine.daemon import Daemon
from poller.engine.meter import Meter
from poller.server.exposition import Exposition
from poller.server.listening import Listening
from poller.server.metrics import PrometheusMeter
from poller.server.serving import serve
from poller.store.counts import CountStore, WatchCount
from poller.store.errors import StoreUnavailable
from poller.store.store import Store
from poller.tracking.delivery import Subscription
from poller.tracking.pacing import Policy
from poller.tracking.registration import Registration
from poller.tracking.watch import AccountScope
from tests.engine.scripted import ScriptedSink
from tests.fakes.api import ACCOUNT, TOKEN, FakeApi
from tests.fakes.tls import NO_TLS
from tests.store.template import new_store

__all__ = ["OPENMETRICS", "Measured", "Page", "measured"]

OPENMETRICS = "application/openmetrics-text"
FAST = Policy(min_interval=0.01, max_interval=0.05, progress_interval=0)


@dataclass(frozen=True, kw_only=True)
class Page:
    """What was scraped, in OpenMetrics."""

    text: str

    @cached_property
    def samples(self) -> list[Sample]:
        """Every sample; parsing is slow, and done once."""
        families = read_openmetrics(self.text)  # type: ignore[no-untyped-call] # theirs
        return [sample for family in families for sample in family.samples]

    def total(self, name: str, **labels: str) -> float:
        """Sum the samples of that name that carry these labels."""
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def quick_total(self, name: str, **labels: str) -> float:
        """Sum as `total` does, without parsing the page, for those that scrape again and again."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in self.text.splitlines()
            if line.startswith((f"{name}{{", f"{name} ")) and all(one in line for one in wanted)
        )

    def by(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """Return what is not 0, by the value of one label."""
        values = {
            sample.labels[label]
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        }
        totals = {value: self.total(name, **{label: value}, **labels) for value in values}
        return {value: total for value, total in totals.items() if total}


class UnreadableCounts(CountStore):
    """Counts that cannot be read while `refuses`."""

    refuses = False

    async def watched(self) -> Sequence[WatchCount]:
        """Count, unless refused."""
        if self.refuses:
            raise StoreUnavailable("store.url: the disk is gone")
        return await super().watched()


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A running daemon with its meter, and a client of its control API."""

    daemon: Daemon
    counts: UnreadableCounts
    instrument: PrometheusMeter
    exposition: Exposition
    client: httpx.AsyncClient

    async def scraped_until(self, name: str, value: float, **labels: str) -> None:
        """Scrape until the samples of that name with these labels add up to `value`."""
        with anyio.fail_after(30):
            while (await self.scrape()).quick_total(name, **labels) != value:  # noqa: ASYNC110 - a scraper asks again
                await anyio.sleep(0.05)

    async def scrape(self) -> Page:
        """Ask for the page as Prometheus does."""
        answer = await self.client.get("/metrics", headers={"Accept": OPENMETRICS})
        assert answer.status_code == 200
        return Page(text=answer.text)


@asynccontextmanager
async def measured(
    directory: Path,
    api: FakeApi,
    *registrations: Registration,
    sink: ScriptedSink,
    sweep: bool = False,
    seconds: float = 0,
) -> AsyncIterator[Measured]:
    """Run a daemon that watches `registrations`; the store is counted again after `seconds`."""
    scope = AccountScope(account=ACCOUNT, base_url=api.base_url)
    credentials = Credentials(username=ACCOUNT, password=SecretStr(TOKEN))
    configuration = Configuration(
        scope=scope,
        policy=FAST,
        credentials=lambda: credentials,
        sinks=[
            SinkPlan(subscription=Subscription(sink=sink.name), key=sink.name, make=lambda: sink)
        ],
        retention=604_800.0,
        shutdown_grace=5.0,
        request_timeout=5.0,
        sweep=sweep,
    )
    instrument = PrometheusMeter()
    meter = Meter(instrument)
    sink.now = wall_clock
    throttle = Throttle(
        max_concurrency=4, requests_per_second=500, probe_interval=60, now=wall_clock
    )
    async with AsyncExitStack() as stack:
        store = await Store.open(
            new_store(directory / "poller.db"), scope, now=wall_clock, timed=meter.transacted
        )
        stack.push_async_callback(store.aclose)
        store.counts = counts = UnreadableCounts(store._transactions, wall_clock)
        api_client = await stack.enter_async_context(_client(scope, credentials))
        daemon = Daemon(
            store=store,
            client=api_client,
            throttle=throttle,
            configuration=configuration,
            now=wall_clock,
            meter=meter,
        )
        exposition = Exposition(
            instrument,
            daemon=daemon,
            store=store,
            throttle=throttle,
            version="1.2.3",
            now=wall_clock,
            seconds=seconds,
        )
        await daemon.register(registrations)
        await daemon.open()
        tasks = await stack.enter_async_context(anyio.create_task_group())
        listening = Listening(address=TcpAddress(host="127.0.0.1", port=0))
        page = partial(serve, daemon, store, listening, version="1.2.3", metrics=exposition.render)
        bound = await tasks.start(page)
        tasks.start_soon(daemon.run)
        scraper = httpx.AsyncClient(
            base_url=bound.address, trust_env=False, timeout=30, verify=NO_TLS
        )
        yield Measured(
            daemon=daemon,
            counts=counts,
            instrument=instrument,
            exposition=exposition,
            client=await stack.enter_async_context(scraper),
        )
        tasks.cancel_scope.cancel()


def _client(scope: AccountScope, credentials: Credentials) -> CommsClient:
    return CommsClient(
        base_url=scope.base_url,
        credentials=credentials,
        timeout=5.0,
        max_connections=4,
        now=wall_clock,
    )
