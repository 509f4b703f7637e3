"""Sweeps between a real store and a scripted list: what is chosen, what goes on, what gives up."""

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar, cast

import anyio
import pytest

from poller.comms.caller import ApiCaller, Request
from poller.comms.client import CommsClient
from poller.comms.errors import CommsError, NotFound, Rejected, ServerError, Throttled, Unavailable
from poller.comms.kinds import KINDS, KindSpec
from poller.comms.models import OperationPage, decode_page
from poller.comms.throttle import Ticket
from poller.engine.configuration import Configuration
from poller.engine.log_events import PollLog
from poller.engine.meter import NO_METER
from poller.engine.signals import Signals
from poller.engine.sweeper import Sweep, Sweeper
from poller.store.schema import watches
from poller.tracking.pacing import Policy
from poller.tracking.registration import Registration
from tests.engine.scripted import CountedNotifier, FickleStore
from tests.store.scenes import HOME, NOW, Clock, Daemon, op

pytestmark = pytest.mark.anyio

T = TypeVar("T")
Logs = list[MutableMapping[str, Any]]
ALL = frozenset(KINDS)
CREATED = NOW - timedelta(hours=1)
PAUSING = [
    Throttled("list", "answered 429", status=429),
    Unavailable("list", "answered 503", status=503),
]


def page(*numbers: int, then: str | None = None, status: str = "PROCESSING") -> OperationPage:
    """Make a page of operations, `then` a token of the next."""
    items: list[object] = [
        {"id": op(number), "status": status, "stats": {}, "createdAt": CREATED.isoformat()}
        for number in numbers
    ]
    return pages_of(items, then)


def pages_of(items: Sequence[object], then: str | None = None) -> OperationPage:
    """Decode a page as it comes from the API."""
    return decode_page({"operations": items, "pagination": {"next": then}}, kind=KINDS["messages"])


@dataclass(kw_only=True)
class Asked:
    """One request for a page, by its query."""

    kind: str
    token: str | None
    start_date: datetime | None
    size: int

    @property
    def reaches_back(self) -> float:
        """To this many seconds before the start; the clock advances a little at each reading."""
        assert self.start_date is not None
        return round((NOW - self.start_date).total_seconds())


class ScriptedCaller(ApiCaller):
    """Answers requests for pages from a script, and keeps what was asked for."""

    def __init__(self) -> None:
        self.script: list[OperationPage | CommsError] = []
        self.asked: list[Asked] = []
        self.good_answers = 0

    async def send(
        self,
        ticket: Ticket,  # noqa: ARG002 - nobody counts here
        request: Callable[[CommsClient], Awaitable[T]],
        *,
        name: Request = Request.FETCH,  # noqa: ARG002 - as above
    ) -> T:
        """Answer what is next in the script."""
        return await request(cast("CommsClient", self))

    async def list_operations(
        self,
        kind: KindSpec,
        *,
        start_date: datetime | None,
        page_token: str | None,
        page_size: int,
    ) -> OperationPage:
        """Stand in for the client."""
        self.asked.append(
            Asked(kind=kind.name, token=page_token, start_date=start_date, size=page_size)
        )
        answer = self.script.pop(0)
        if isinstance(answer, CommsError):
            raise answer
        return answer


@dataclass(kw_only=True)
class Scene:
    """A sweeper, and what there is to see of it."""

    store: FickleStore
    clock: Clock
    caller: ScriptedCaller = field(default_factory=ScriptedCaller)
    sweep: bool = True
    discover_age: float | None = None
    recorded: CountedNotifier = field(default_factory=CountedNotifier)

    def __post_init__(self) -> None:
        signals = Signals(events=self.recorded)
        self.ready = signals.polls.listen()
        self.sweeper = Sweeper(
            store=self.store,
            caller=self.caller,
            now=self.clock,
            configuration=self.configuration,
            signals=signals,
            log=PollLog(self.clock),
            meter=NO_METER,
        )
        self.daemon = Daemon(self.store, self.clock, "first")

    def configuration(self) -> Configuration:
        """Return the settings in force."""
        return Configuration(
            scope=HOME,
            policy=Policy(progress_interval=0),
            credentials=lambda: pytest.fail("nobody reads credentials here"),
            sinks=[],
            retention=604_800,
            shutdown_grace=5,
            request_timeout=10,
            sweep=self.sweep,
            discover_age=self.discover_age,
        )

    async def choose(self, kinds: frozenset[str] = ALL) -> Sweep | None:
        """Ask whether a page is to be read now."""
        await self.sweeper.begin(kinds)
        return self.sweeper.next_page(kinds)

    async def read(self, *answers: OperationPage | CommsError) -> None:
        """Let the chosen sweep read this many pages."""
        for answer in answers:
            self.caller.script = [answer]
            sweep = await self.choose()
            assert sweep is not None
            sweep.is_reading = True
            await self.sweeper.read(sweep, self.ticket())

    def ticket(self) -> Ticket:
        """Make a ticket of a request that is sent now."""
        return Ticket(
            number=1,
            kind="messages",
            begun_at=self.clock(),
            probe=None,
            probes_account=False,
            probes_kind=False,
        )

    @property
    def tokens(self) -> list[str | None]:
        """The tokens of all pages that were asked for."""
        return [asked.token for asked in self.caller.asked]


@pytest.fixture
async def scene(store: FickleStore, clock: Clock, logs: object) -> Scene:  # noqa: ARG001 - kept from the terminal
    """Set the scene."""
    return Scene(store=store, clock=clock)


def names(logs: Logs) -> list[str]:
    """Return the log events in order."""
    return [line["event"] for line in logs]


async def test_one_request_is_never_more_than_a_sweep(scene: Scene) -> None:
    """A single due operation is fetched; two are listed, from some minutes before the oldest."""
    assert await scene.choose() is None
    await scene.daemon.register(op(1))
    assert await scene.choose() is None
    await scene.daemon.register(op(2))
    await scene.read(page(1, 2))
    [asked] = scene.caller.asked
    assert (asked.kind, asked.token, asked.size) == ("messages", None, 1000)
    assert asked.reaches_back == 15 * 60
    assert await scene.choose() is None


async def test_the_next_page_comes_while_one_is_recorded(scene: Scene) -> None:
    """It may be asked for before the store is done, and no third: memory stays bounded."""
    await scene.daemon.register(*(op(number) for number in range(6)))
    turn = scene.store._transactions.turn
    sweep = await scene.choose()
    assert sweep is not None
    async with anyio.create_task_group() as reads:
        scene.caller.script = [page(0, 1, then="b"), page(2, 3, then="c"), page(4, 5)]
        await turn.acquire_on_behalf_of(turn)
        for number in range(2):
            assert await scene.choose() is sweep
            sweep.is_reading = True
            reads.start_soon(scene.sweeper.read, sweep, scene.ticket())
            assert number or await scene.ready.wait(5)
            await anyio.wait_all_tasks_blocked()
        assert await scene.choose() is None
        assert scene.tokens == [None, "b"]
        turn.release_on_behalf_of(turn)
    assert (await scene.choose(), sweep.shown) == (sweep, 4)
    await scene.read(page(4, 5))
    assert (await scene.choose(), sweep.shown) == (None, 6)


async def test_off_never_lists(scene: Scene) -> None:
    """Whatever is due, everything is fetched."""
    scene.sweep = False
    await scene.daemon.register(*(op(number) for number in range(1200)))
    assert await scene.choose() is None


async def test_the_choice_rests_on_measured_pages(scene: Scene, clock: Clock) -> None:
    """An account full of strangers makes lists long: then it takes more due to read one."""
    await scene.daemon.register(*(op(number) for number in range(4)))
    await scene.read(page(0, then="b"), page(1, then="c"), page(2, then="d"), page(3))
    clock.advance(100)
    assert await scene.choose() is None
    await scene.daemon.register(op(4))
    assert await scene.choose() is not None


async def test_a_sweep_is_read_page_by_page(scene: Scene, logs: Logs) -> None:
    """One page at a time, by tokens; its kind is not fetched meanwhile, the others are."""
    await scene.daemon.register(op(1), op(2), op(3))
    sweep = await scene.choose()
    assert sweep is not None
    assert await scene.choose() is sweep
    sweep.is_reading = True
    assert await scene.choose() is None
    assert scene.sweeper.busy_with == {"messages"}
    sweep.is_reading = False
    assert await scene.choose(ALL - {"messages"}) is None
    await scene.read(page(1, then="b"), page(2, then="c"), page(3))
    assert scene.tokens == [None, "b", "c"]
    assert scene.sweeper.busy_with == frozenset()
    assert scene.recorded.count == 3
    [done] = [line for line in logs if line["event"] == "sweep.done"]
    assert (done["pages"], done["due"], done["not_shown"]) == (3, 3, 0)


async def test_pages_that_shift_lose_nothing(scene: Scene) -> None:
    """Shown twice is seen once; what slipped between two pages is due, and no list comes before."""
    await scene.daemon.register(*(op(number) for number in range(5)))
    await scene.read(page(4, 3, then="b"), page(3, 1, then="c"), page(1, 0))
    stored = {row["id"]: row["sequence"] for row in await scene.daemon.rows(watches)}
    assert stored == {op(0): 1, op(1): 1, op(2): 0, op(3): 1, op(4): 1}
    assert await scene.choose() is None
    assert await scene.daemon.claim() == [op(2)]


async def test_what_no_list_shows_does_not_wait_behind_lists(scene: Scene, clock: Clock) -> None:
    """After a sweep that missed some there are as many turns for fetches as it had pages."""
    await scene.daemon.register(*(op(number) for number in range(40)))
    shown = range(30)
    await scene.read(page(*shown, then="b"), page(*shown))
    clock.advance(100)
    turns = 0
    while await scene.choose() is None:
        turns += 1
        assert turns < 10
        assert await scene.daemon.claim(1) == [op(29 + turns)]
    assert turns == 2


async def test_what_the_last_list_missed_is_no_reason_for_another(scene: Scene) -> None:
    """Not shown, and due still: that is fetched, be it a thousand."""
    await scene.daemon.register(*(op(number) for number in range(50)))
    await scene.read(page(*range(10)))
    assert [await scene.choose() for _ in range(5)] == [None] * 5


async def test_a_page_that_fails_is_asked_for_again(scene: Scene) -> None:
    """With the same token; a page that comes makes up for those that did not."""
    await scene.daemon.register(op(1), op(2), op(3))
    trouble = ServerError("list", "answered 500", status=500)
    await scene.read(page(1, then="b"), trouble, trouble, page(2, then="c"), trouble, page(3))
    assert scene.tokens == [None, "b", "b", "b", "c", "c"]
    assert scene.sweeper.busy_with == frozenset()


async def refused(scene: Scene, trouble: CommsError) -> None:
    """Let the page be refused, and stand aside for one turn, in which its kind may be fetched."""
    await scene.read(trouble)
    if scene.sweeper.busy_with:
        assert await scene.choose() is None
        assert scene.sweeper.busy_with == frozenset()


@pytest.mark.parametrize("trouble", PAUSING, ids=["429", "503"])
async def test_a_pause_of_the_account_ends_no_sweep(scene: Scene, trouble: CommsError) -> None:
    """Refused however often while nothing else is answered either: it goes on where it was."""
    await scene.daemon.register(op(1), op(2), op(3))
    await scene.read(page(1, then="b"))
    for _ in range(10):
        await refused(scene, trouble)
    await scene.read(page(2, then="c"), page(3))
    assert scene.tokens == [None, *["b"] * 11, "c"]
    assert scene.sweeper.busy_with == frozenset()


@pytest.mark.parametrize("trouble", PAUSING, ids=["429", "503"])
async def test_a_list_that_alone_is_refused_is_given_up(
    scene: Scene, logs: Logs, trouble: CommsError
) -> None:
    """Where other requests are answered in between, three refusals are enough."""
    await scene.daemon.register(op(1), op(2), op(3))
    for _ in range(3):
        await refused(scene, trouble)
        scene.caller.good_answers += 1
    assert names(logs).count("sweep.given_up") == 1
    assert await scene.choose() is None


async def test_three_failures_end_a_sweep(scene: Scene, clock: Clock, logs: Logs) -> None:
    """Then everything is fetched for a minute, and after it lists are tried again."""
    await scene.daemon.register(op(1), op(2), op(3))
    trouble = ServerError("list", "answered 500", status=500)
    await scene.read(page(1, then="b"), trouble, trouble, trouble)
    assert names(logs).count("sweep.given_up") == 1
    assert await scene.choose() is None
    assert await scene.daemon.claim() == [op(2), op(3)]
    clock.advance(61)
    await scene.daemon.expire_leases()
    assert await scene.choose() is not None


@pytest.mark.parametrize(
    "answer",
    [
        Rejected("list", "answered 400", status=400),
        NotFound("list", "answered 404", status=404),
        page(1, then="b"),
    ],
    ids=["400", "404", "a page that leads to itself"],
)
async def test_what_is_refused_is_given_up_at_once(
    scene: Scene, logs: Logs, answer: OperationPage | CommsError
) -> None:
    """A token that is no good, or no end, will be no better in a second."""
    await scene.daemon.register(op(1), op(2), op(3))
    await scene.read(page(1, then="b"), answer)
    assert names(logs).count("sweep.given_up") == 1
    assert await scene.choose() is None


async def test_items_that_make_no_sense_are_skipped(scene: Scene, logs: Logs) -> None:
    """They are logged, and the others on the page are used."""
    await scene.daemon.register(op(1), op(2))
    items: list[object] = [
        {"id": op(1), "status": "PROCESSING", "stats": None},
        {"id": op(2), "status": "PROCESSING", "stats": {}},
        "none at all",
    ]
    await scene.read(pages_of(items))
    nonsense = [line for line in logs if line["event"] == "sweep.nonsense"]
    assert [line["log_level"] for line in nonsense] == ["warning", "warning"]
    assert await scene.daemon.claim() == [op(1)]


async def test_discovery_reads_every_kind_at_intervals(scene: Scene, clock: Clock) -> None:
    """Nothing is watched, nothing is due: each kind is listed, every max_interval."""
    scene.discover_age = 3600
    await scene.read(*[pages_of([])] * len(KINDS))
    assert {asked.kind for asked in scene.caller.asked} == ALL
    assert {asked.reaches_back for asked in scene.caller.asked} == {3600 + 300}
    clock.advance(59)
    assert await scene.choose() is None
    clock.advance(1)
    assert await scene.choose() is not None


async def test_discovery_finds_what_is_new_enough(scene: Scene, clock: Clock, logs: Logs) -> None:
    """Registered, observed and logged; older ones are skipped, known ones are not discovered."""
    scene.discover_age = 1800
    await scene.store.register([Registration(id=op(9), kind="messages")])
    await scene.store.forget(op(9))
    fresh = (clock() - timedelta(minutes=20)).isoformat()
    items = [
        {"id": op(1), "status": "PROCESSING", "stats": {}, "createdAt": fresh},
        {"id": op(2), "status": "PROCESSING", "stats": {}, "createdAt": CREATED.isoformat()},
        {"id": op(9), "status": "PROCESSING", "stats": {}, "createdAt": fresh},
    ]
    while scene.caller.asked[-1:] == [] or scene.caller.asked[-1].kind != "messages":
        sweep = await scene.choose()
        assert sweep is not None
        await scene.read(pages_of(items if sweep.kind == "messages" else []))
    found = [line["operation"] for line in logs if line["event"] == "operation.discovered"]
    assert found == [op(1)]
    rows = {row["id"]: row["phase"] for row in await scene.daemon.rows(watches)}
    assert rows == {op(1): "active", op(9): "forgotten"}
    assert scene.recorded.count == 1


async def test_discovery_lists_though_sweeps_are_off(scene: Scene) -> None:
    """`sweep` is about refreshing; who asks for discovery asks for lists."""
    scene.sweep, scene.discover_age = False, 60
    assert await scene.choose() is not None


async def test_a_failed_discovery_waits_a_minute(scene: Scene, clock: Clock) -> None:
    """It neither hammers nor stops for good, also where the clock goes back meanwhile."""
    scene.discover_age = 60
    kinds = frozenset(("messages",))
    sweep = await scene.choose(kinds)
    assert sweep is not None
    scene.sweeper.give_up(sweep)
    assert await scene.choose(kinds) is None
    clock.advance(-3600)
    assert await scene.choose(kinds) is not None
