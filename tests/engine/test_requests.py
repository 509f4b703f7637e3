"""The one request that a poll of a watch consists of."""

from datetime import timedelta

import httpx
import pytest

from poller.comms.client import CommsClient
from poller.comms.models import decode_operation
from poller.engine.requests import call_for
from poller.tracking.answer import FoundAnswer
from poller.tracking.observe import observe
from poller.tracking.pacing import Policy
from tests.engine.scripted_api import GOOD
from tests.store.scenes import HOME
from tests.tracking.story import MESSAGE_ID, START, new_watch

pytestmark = pytest.mark.anyio
DAY = 86400.0


async def test_one_page_of_messages_gives_the_earliest_schedule() -> None:
    """A scheduled operation costs one request more, and wakes for its first send."""
    asked: list[httpx.URL] = []
    hours = (72, 5, 9)

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        sent = [(START + timedelta(hours=one)).isoformat() for one in hours]
        message = {"id": MESSAGE_ID, "status": "SCHEDULED"}
        page = {"messages": [{**message, "scheduledFor": one} for one in sent]}
        return httpx.Response(200, json={**page, "pagination": {"next": None, "self": "t"}})

    policy, watch = Policy(schedule_checks=30 * DAY), new_watch()
    document = {"id": watch.id, "status": "SCHEDULED", "stats": {"total": 3, "scheduled": 3}}
    found = decode_operation(document, kind=watch.kind_spec, expected_id=watch.id)
    seen = FoundAnswer(found=found, begun_at=START, arrived_at=START)
    watch = observe(watch, seen, policy=policy, now=START, jitter=0.0).watch
    async with CommsClient(
        base_url=HOME.base_url,
        credentials=GOOD,
        timeout=10.0,
        max_connections=1,
        transport=httpx.MockTransport(answer),
        now=lambda: START,
    ) as client:
        reading = await call_for(watch)(client)
    read = reading(begun_at=START, arrived_at=START)
    watch = observe(watch, read, policy=policy, now=START, jitter=0.0).watch
    assert watch.next_poll.due_at == START + timedelta(hours=5)
    assert [url.params["pageSize"] for url in asked] == ["100"]
