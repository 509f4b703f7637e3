"""Standstill, found by a query: once for each rule and operation, however often it runs."""

import json
from datetime import timedelta
from typing import Any

import anyio
import pytest

from poller.store.schema import deliveries, events, watches
from poller.tracking.alert import AlertRule, AlertSubject
from poller.tracking.pacing import Policy
from poller.tracking.registration import Registration
from tests.store.conftest import SLOW_ON_POSTGRESQL
from tests.store.scenes import Daemon, op, seen
from tests.store.test_sweeps import listed, sweep

pytestmark = pytest.mark.anyio

QUIET = AlertRule(name="no_progress", stalled=900)
EVEN_LONGER = AlertRule(name="noXprogress", stalled=1800)
POLICY = Policy(progress_interval=0, alerts=(QUIET, EVEN_LONGER))


async def judge(daemon: Daemon, policy: Policy = POLICY) -> list[tuple[str, str]]:
    """Fire what stands still; return the operations and their rules."""
    found = await daemon.store.record_standstill(policy)
    return [(stored.subject, stored.event.data["alert"]["name"]) for stored in found]


async def test_an_operation_that_stands_still_fires_once(daemon: Daemon, another: Daemon) -> None:
    """Not before it was observed after the threshold, and not again, by whichever daemon."""
    await daemon.register(op(1), op(2))
    await daemon.observe(op(1), "PROCESSING", total=5)
    await daemon.observe(op(2), "PROCESSING", total=5)
    daemon.clock.advance(seconds=900)
    assert await judge(daemon) == []
    await daemon.observe(op(1), "PROCESSING", total=5)
    await daemon.observe(op(2), "PROCESSING", total=5, delivered=1)
    assert await judge(another) == [(op(1), "no_progress")]
    assert await judge(daemon) == []
    daemon.clock.advance(seconds=900)
    await daemon.observe(op(1), "PROCESSING", total=5)
    assert await judge(daemon) == [(op(1), "noXprogress")]
    assert await judge(daemon) == []
    rows = [json.loads(row["body"]) for row in await daemon.rows(events)]
    own = [row for row in rows if row["subject"] == op(1)]
    assert [int(row["sequence"]) for row in own] == [1, 2, 3]
    assert [row["data"]["alert"]["value"] for row in own[1:]] == [900, 1800]
    assert await daemon.count(deliveries) == 5


async def test_daemons_that_judge_at_once_fire_once(daemon: Daemon, another: Daemon) -> None:
    """The row decides: the second one finds that the rule has fired."""
    await daemon.register(op(1))
    await daemon.observe(op(1), "PROCESSING", total=5)
    daemon.clock.advance(seconds=1000)
    await daemon.observe(op(1), "PROCESSING", total=5)
    fired: list[Any] = []

    async def ask(who: Daemon) -> None:
        fired.extend(await judge(who))

    async with anyio.create_task_group() as tasks:
        for who in (daemon, another, daemon, another):
            tasks.start_soon(ask, who)
    assert fired == [(op(1), "no_progress")]


async def test_an_unchanged_operation_of_a_list_counts_as_observed(daemon: Daemon) -> None:
    """A sweep writes no state of what it finds as it was, but that it found it."""
    await daemon.register(op(1))
    await sweep(daemon, listed(1))
    daemon.clock.advance(seconds=950)
    swept = await sweep(daemon, listed(1))
    assert swept.quiet == 1
    assert await judge(daemon) == [(op(1), "no_progress")]
    [row] = await daemon.rows(watches)
    assert row["observed_at"] - row["moved_at"] == timedelta(seconds=950)


async def test_what_fired_survives_retention(daemon: Daemon) -> None:
    """The stub keeps the names, so that a late registration does not repeat an alert."""
    bounces = Policy(alerts=(AlertRule(name="bounces", counters=("failed",), count=1),))
    await daemon.register(op(1))
    [first] = await daemon.record(
        (op(1), seen(op(1), stats={"total": 5, "failed": 1})), policy=bounces
    )
    assert [stored.type for stored in first.events] == ["operation.alert", "operation.processing"]
    await daemon.drain()
    await daemon.store.forget(op(1))
    daemon.clock.advance(days=8)
    await daemon.store.retention.prune(retention_seconds=1)
    [row] = await daemon.rows(watches)
    assert (row["is_stub"], row["emitted_alerts"]) == (True, ["bounces"])
    await daemon.register(op(1))
    [again] = await daemon.record(
        (op(1), seen(op(1), stats={"total": 5, "failed": 2})), policy=bounces
    )
    assert [stored.type for stored in again.events] == ["operation.progress"]


async def test_a_clock_that_went_back_does_not_delay_it(daemon: Daemon) -> None:
    """What moved in the future moved when the clock was set back: neither an hour later nor now."""
    await daemon.join("autumn", op(1))
    await daemon.observe(op(1), "PROCESSING", total=5)
    daemon.clock.advance(seconds=60)
    await daemon.observe(op(1), "PROCESSING", total=5)
    daemon.clock.advance(hours=-1)
    await daemon.store.void_future_waits()
    of_group = AlertRule(name="group", stalled=900, of=AlertSubject.GROUP)
    policy = Policy(progress_interval=0, alerts=(QUIET, of_group))
    assert await judge(daemon, policy) == []
    daemon.clock.advance(seconds=900)
    await daemon.observe(op(1), "PROCESSING", total=5)
    assert await judge(daemon, policy) == [(op(1), "no_progress"), ("autumn", "group")]


@SLOW_ON_POSTGRESQL
async def test_scheduled_operations_do_not_crowd_out_others(daemon: Daemon) -> None:
    """However many stand still because they are scheduled, the one that is stuck is found."""
    *scheduled, stuck = [op(number) for number in range(1, 502)]
    await daemon.register(*scheduled, stuck)
    for seconds in (0, 1000):
        daemon.clock.advance(seconds=seconds)
        now = daemon.clock()
        await daemon.record(
            *((one, seen(one, "SCHEDULED", at=now)) for one in scheduled),
            (stuck, seen(stuck, at=now)),
        )
    assert await judge(daemon) == [(stuck, "no_progress")]


@SLOW_ON_POSTGRESQL
async def test_labels_choose_what_is_judged(daemon: Daemon) -> None:
    """What the rule is not for is neither fired nor in the way of others."""
    rule = AlertRule(name="quiet", stalled=60, labels={"campaign": "autumn"})
    await daemon.register(op(1))
    await daemon.observe(op(1), "PROCESSING", total=5)
    daemon.clock.advance(seconds=100)
    await daemon.observe(op(1), "PROCESSING", total=5)
    assert await judge(daemon, Policy(alerts=(rule,))) == []


async def test_a_group_stands_still_when_no_member_moves(daemon: Daemon, another: Daemon) -> None:
    """Each that may move was observed since; scheduled and ended ones are not waited for."""
    rule = AlertRule(name="quiet", stalled=900, of=AlertSubject.GROUP)
    policy = Policy(progress_interval=0, alerts=(rule,))
    await daemon.store.register(
        [Registration(id=op(n), kind="messages", group="autumn") for n in range(1, 5)]
    )
    await daemon.observe(op(1), "PROCESSING", total=5)
    await daemon.observe(op(2), "PROCESSING", total=5)
    await daemon.observe(op(3), "SCHEDULED", total=5)
    await daemon.observe(op(4), "COMPLETED", total=5, delivered=5)
    daemon.clock.advance(seconds=950)
    await daemon.observe(op(1), "PROCESSING", total=5)
    assert await judge(daemon, policy) == []
    await daemon.observe(op(2), "PROCESSING", total=5)
    assert await judge(another, policy) == [("autumn", "quiet")]
    assert await judge(daemon, policy) == []
    rows = [json.loads(row["body"]) for row in await daemon.rows(events)]
    [alert] = [row for row in rows if row["type"] == "group.alert"]
    assert alert["data"]["alert"] == {
        "name": "quiet",
        "measure": "stalled",
        "value": 950,
        "threshold": 900,
    }
    group = await daemon.group("autumn")
    assert (group.emitted.alerts, group.emitted.sequence) == (("quiet",), int(alert["sequence"]))
