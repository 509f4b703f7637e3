"""Reading what failed beside operations that are due: it takes what they leave, and takes it."""

from typing import Any

import pytest

from poller.comms.kinds import KINDS
from poller.comms.models import decode_operation
from poller.store.watches import Claim, Lease
from poller.tracking.answer import FoundAnswer
from poller.tracking.registration import Registration
from tests.engine.polling import polling_of
from tests.engine.scripted import FickleStore, TickingClock, until
from tests.engine.scripted_api import QUICK, ScriptedApi
from tests.store.scenes import op

pytestmark = pytest.mark.anyio

FAILED, DUE = op(0), op(1)
PAGES = 6


class Api(ScriptedApi):
    """One operation has failures on six pages of errors; of the other nothing is new."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.pages = 0

    def _answer(self, name: str) -> tuple[int, Any]:
        if name == FAILED:
            return 200, {"id": name, "status": "COMPLETED", "stats": {"total": 3, "failed": 3}}
        if name == "Errors":
            self.pages += 1
            token = f"page-{self.pages}" if self.pages < PAGES else None
            return 200, {"errors": [{"code": 30003}], "pagination": {"next": token}}
        if name == "Messages":
            return 200, {"messages": []}
        return self.processing(name)


async def run(store: FickleStore, clock: TickingClock, api: Api) -> list[str]:
    """Run with a single slot until all was read; what was asked, in order."""
    async with polling_of(api, store, clock, concurrency=1):
        await until(lambda: api.asked.count("Messages") == 2)
    return api.asked


async def test_an_operation_that_falls_due_is_asked_before_the_next_page(
    store: FickleStore,
    clock: TickingClock,
    monkeypatch: pytest.MonkeyPatch,
    logs: object,  # noqa: ARG001 - kept from the terminal
) -> None:
    """With one slot it waits for the page that is under way, and for none that was due before."""
    due_before = {3, 6, 7}
    api = Api()
    claim = store.claim_due

    async def claim_later(**kwargs: Any) -> Claim:  # noqa: ANN401 - handed on as it is
        if api.pages + 1 in due_before:
            # the next page is due by now; after its longest wait the operation is, too
            due_before.discard(api.pages + 1)
            clock.advance(QUICK.max_interval)
        found: Claim = await claim(**kwargs)
        return found

    monkeypatch.setattr(store, "claim_due", claim_later)
    await store.register([Registration(id=FAILED, kind="messages", breakdown=True)])
    await store.register([Registration(id=DUE, kind="messages")])
    assert await run(store, clock, api) == [
        *(FAILED, DUE, "Errors", "Errors", DUE, "Errors", "Errors", "Errors", DUE, "Errors", DUE),
        *("Messages", "Messages"),
    ]


async def test_what_waits_for_a_minute_has_its_turn(
    store: FickleStore, clock: TickingClock
) -> None:
    """A page goes after everything else that is due, until it is the longest overdue of all."""
    lease = Lease(owner="first", seconds=1)
    await store.register([Registration(id=FAILED, kind="messages", breakdown=True)])
    document = {"id": FAILED, "status": "COMPLETED", "stats": {"total": 3, "failed": 3}}
    seen = FoundAnswer(
        found=decode_operation(document, kind=KINDS["messages"]),
        begun_at=clock(),
        arrived_at=clock(),
    )
    await store.record([(FAILED, seen)], kind="messages", policy=QUICK, lease_owner=None)

    async def claim() -> list[str]:
        found = await store.claim_due(kinds=["messages"], limit=1, lease=lease)
        await store.release([watch.id for watch in found.watches], lease.owner)
        return [watch.id for watch in found.watches]

    assert await claim() == [FAILED]
    clock.advance(50)
    await store.register([Registration(id=DUE, kind="messages")])
    assert await claim() == [DUE]
    clock.advance(11)
    assert await claim() == [FAILED]
