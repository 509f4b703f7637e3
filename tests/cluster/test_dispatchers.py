"""Events that one daemon records, delivered by another one."""

import anyio
import pytest

from tests.cluster.embedded import embedded, meet, until
from tests.fakes.api import FakeApi, operation, operation_id
from tests.fakes.receiver import Receiver

pytestmark = pytest.mark.anyio


async def test_a_sink_of_another_daemon_gets_an_event_in_a_quarter_of_a_second(
    url: str, api: FakeApi
) -> None:
    """The daemon that records has no sink, and the webhook of the other one is not woken by it."""
    committed: dict[str, float] = {}
    with Receiver() as receiver:
        sinks = {"app": {"type": "webhook", "url": receiver.url, "events": ["group.*"]}}
        async with embedded(url, api) as first, embedded(url, api, sinks=sinks) as second:
            await meet(second)
            for number in range(12):
                group = f"group-{number}"
                one = operation_id(number)
                api.script(one, [operation(one, "PROCESSING", total=9, queued=9)])
                await first.watch(one, group=group)
                committed[group] = anyio.current_time()
                await anyio.sleep(0.11)
            await until(
                lambda: committed.keys() <= {one["subject"] for one in receiver.events}, seconds=10
            )
            # a replay is no event: the other daemon finds it when it looks for what is due
            before, replayed_at = len(receiver.received), anyio.current_time()
            await first._daemon.replay_event(receiver.events[0]["id"], None)
            again = await anyio.to_thread.run_sync(receiver.wait_for, before + 1)
            assert again[before].at - replayed_at < 1.25
    arrived: dict[str, float] = {}
    for request in receiver.received:
        arrived.setdefault(request.event["subject"], request.at)
    late = sorted(arrived[group] - at for group, at in committed.items())
    # a busy machine may delay a few
    assert late[len(late) * 3 // 4] < 0.25
