"""The page of metrics: what a daemon at work counts, how it stands, and what nobody may read."""

import math
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from prometheus_client.parser import text_string_to_metric_families as read_text

from poller.sinks.base import OutgoingEvent, SinkOutcome, SinkVerdict
from poller.tracking.registration import Registration
from tests.engine.scripted import DELIVERED, ScriptedSink, failed
from tests.fakes.api import ACCOUNT, TOKEN, FakeApi, Reply, envelope, operation, operation_id
from tests.server.measured import OPENMETRICS, measured

pytestmark = pytest.mark.anyio

ONE, OTHER, THIRD = (operation_id(number) for number in (7001, 7002, 7003))
CAMPAIGN = "autumn-of-the-secret-client"
FETCH = {"kind": "messages", "request": "fetch"}
ASKS_FOR_OPENMETRICS = [
    "application/openmetrics-text",
    "Application/OpenMetrics-Text; Version=1.0.0; charset=utf-8",
    "text/plain;q=0.5, application/openmetrics-text;version=0.0.1;q=0.75,*/*;q=0.1",
    "application/openmetrics-text;version=nonsense;escaping=?;;,,",
]
ASKS_FOR_TEXT = [
    None,
    "*/*",
    "text/plain;version=0.0.4",
    "application/openmetrics-text;q=0, text/plain",
    "application/openmetrics-text; q=0.000",
    ",;=;q",
]


@pytest.fixture
def api() -> Iterator[FakeApi]:
    """Answer what the test says."""
    with FakeApi() as server:
        yield server


def registration(name: str, kind: str = "messages") -> Registration:
    """Register an operation with a label."""
    return Registration(id=name, kind=kind, labels={"campaign": CAMPAIGN})


def script_odd_campaign(api: FakeApi) -> None:
    """Say what `ONE` answers: of everything one, and then its end."""
    api.script(
        ONE,
        [
            operation(ONE, "PROCESSING", total=3, queued=3),
            operation(ONE, "PROCESSING", total=3, queued=3),
            operation(ONE, "PROCESSING", updated=5, total=3, queued=2, delivered=1),
            operation(ONE, "PROCESSING", updated=2, total=3, queued=3),
            Reply(status=500, body=b"oops"),
            operation(OTHER, "PROCESSING"),
            Reply(status=404, body=envelope(20404, "not found")),
            operation(ONE, "COMPLETED", updated=9, total=3, delivered=3),
        ],
    )


def once_refused() -> ScriptedSink:
    """Make a sink whose first attempt fails."""
    begun: list[str] = []

    def answers(event: OutgoingEvent) -> SinkOutcome:
        begun.append(event.id)
        return failed(503) if len(begun) == 1 else DELIVERED

    return ScriptedSink(answers=answers)


async def test_what_a_daemon_does_is_counted(api: FakeApi, tmp_path: Path) -> None:
    """Requests, verdicts, events and deliveries add up to what API and sink have seen."""
    script_odd_campaign(api)
    api.script(OTHER, [operation(OTHER, "PROCESSING"), operation(OTHER, "CANCELED", updated=3)])
    sink = once_refused()
    registrations = [registration(ONE), registration(OTHER, "emails")]
    async with measured(tmp_path, api, *registrations, sink=sink) as scene:
        await scene.scraped_until(
            "comms_poller_delivery_attempts_total", 5, sink="app", outcome="delivered"
        )
        page = await scene.scrape()
    assert page.by("comms_poller_polls_total", "outcome", **FETCH) == {
        "ok": 5,
        "server_error": 1,
        "nonsense": 1,
        "not_found": 1,
    }
    assert page.by("comms_poller_polls_total", "outcome", kind="emails") == {"ok": 2}
    assert page.by("comms_poller_answers_total", "verdict", kind="messages") == {
        "changed": 3,
        "unchanged": 1,
        "stale": 1,
        "failed": 1,
        "nonsense": 1,
        "absent": 1,
    }
    assert page.by("comms_poller_events_total", "type") == {
        "operation.processing": 2,
        "operation.progress": 1,
        "operation.completed": 1,
        "operation.canceled": 1,
    }
    # of both operations each delta once; what begins at 0 shows its first step
    assert page.by("comms_poller_recipients_total", "outcome") == {"delivered": 3}
    assert 'comms_poller_recipients_total{kind="emails",outcome="failed"} 0.0' in page.text
    assert 'comms_poller_events_total{kind="emails",type="operation.lost"} 0.0' in page.text
    for name in ("request_duration", "throttle_wait", "schedule_lag"):
        assert page.total(f"comms_poller_{name}_seconds_count") == len(api.requests), name
    assert page.by("comms_poller_delivery_attempts_total", "outcome", sink="app") == {
        "delivered": 5,
        "failed": 1,
    }
    assert page.total("comms_poller_delivery_attempt_duration_seconds_count") == 6
    assert page.total("comms_poller_delivery_lag_seconds_count", sink="app") == 5
    assert page.total("comms_poller_delivery_lag_seconds_sum", sink="app") > 0.5
    assert page.total("comms_poller_deliveries_dead_total") == 0
    recorded = page.total(
        "comms_poller_store_transaction_duration_seconds_count", transaction="watches.record"
    )
    assert recorded == len(api.requests)
    assert page.total("comms_poller_store_refusals_total") == 0


async def test_detection_lag_is_measured_from_the_change(api: FakeApi, tmp_path: Path) -> None:
    """An event's lag is from the API's `updatedAt` to our answer, once for each change."""
    first = operation(ONE, "PROCESSING", queued=1, updated=0)
    last = operation(ONE, "COMPLETED", delivered=1, updated=540)
    api.script(ONE, [first, first, last])
    async with measured(tmp_path, api, registration(ONE), sink=ScriptedSink()) as scene:
        await scene.scraped_until(
            "comms_poller_events_total", 1, type="operation.completed", kind="messages"
        )
        page = await scene.scrape()
    # created ten minutes ago: seen 600 s after the first change, 60 s after the last
    assert page.total("comms_poller_detection_lag_seconds_count", kind="messages") == 2
    assert 660 <= page.total("comms_poller_detection_lag_seconds_sum") < 720
    assert page.total("comms_poller_detection_lag_seconds_bucket", le="120.0") == 1


async def test_sweeps_are_counted_by_page(api: FakeApi, tmp_path: Path) -> None:
    """What lists bring is counted as answers like any other."""
    names = [operation_id(number) for number in range(50)]
    for name in names:
        api.script(name, [operation(name, "PROCESSING", queued=1)])
    registrations = [registration(name) for name in names]
    async with measured(tmp_path, api, *registrations, sink=ScriptedSink(), sweep=True) as scene:
        await scene.scraped_until("comms_poller_operations", 50, status="PROCESSING")
        with anyio.fail_after(30):
            while True:
                page = await scene.scrape()
                if page.quick_total("comms_poller_answers_total", verdict="unchanged") >= 50:
                    break
                await anyio.sleep(0.05)
    assert page.total("comms_poller_sweep_pages_total", kind="messages") >= 1
    assert page.total("comms_poller_polls_total", request="list", outcome="ok") >= 1
    assert page.total("comms_poller_answers_total", verdict="changed") == 50


async def test_messages_are_counted_as_operations_are(api: FakeApi, tmp_path: Path) -> None:
    """Their events and how late they were seen; the daemon is not disturbed by counting."""
    message = ONE.replace("_operation_", "_message_")
    shown = {"id": message, "status": "SENT", "updatedAt": "2026-11-22T10:00:00Z", "attempts": []}
    api.script(message, [shown, {**shown, "status": "DELIVERED"}])
    async with measured(tmp_path, api, registration(message), sink=ScriptedSink()) as scene:
        await scene.scraped_until("comms_poller_operations", 0)
        page = await scene.scrape()
    assert page.by("comms_poller_events_total", "type") == {
        "message.sent": 1,
        "message.delivered": 1,
    }
    assert page.total("comms_poller_detection_lag_seconds_count", kind="messages") == 2


async def test_how_it_stands(api: FakeApi, tmp_path: Path) -> None:
    """Operations by status, the outbox and its age, the sink's state, the version, the loops."""
    api.script(ONE, [operation(ONE, "PROCESSING")])
    api.script(OTHER, [operation(OTHER, "PONDERING")])
    api.script(THIRD, [Reply(status=500, body=b"oops")])
    sink = ScriptedSink(answers=lambda _: failed(503))
    registrations = [registration(ONE), registration(OTHER), registration(THIRD, "emails")]
    async with measured(tmp_path, api, *registrations, sink=sink) as scene:
        await scene.scraped_until("comms_poller_outbox_events", 2, sink="app")
        await scene.scraped_until("comms_poller_sink_state", 1, sink="app", state="failing")
        page = await scene.scrape()
    assert page.by("comms_poller_operations", "status", kind="messages") == {
        "PROCESSING": 1,
        "other": 1,
    }
    assert page.by("comms_poller_operations", "status", kind="emails") == {"unseen": 1}
    assert page.by("comms_poller_sink_state", "state", sink="app") == {"failing": 1}
    assert 0 < page.total("comms_poller_outbox_oldest_age_seconds", sink="app") < 60
    assert page.total("comms_poller_dead_letters", sink="app") == 0
    assert page.total("comms_poller_sink_configured", sink="app") == 1
    assert page.total("comms_poller_build_info", version="1.2.3") == 1
    assert page.total("comms_poller_store_readable") == 1
    loops = {
        sample.labels["loop"]: sample.value
        for sample in page.samples
        if sample.name == "comms_poller_loop_silence_seconds"
    }
    assert loops.keys() == {"poll", "housekeeping", "sink app"}
    assert max(loops.values()) < 30


async def test_groups_are_counted_by_state(api: FakeApi, tmp_path: Path) -> None:
    """An open one, one that is sealed, and one that has ended."""
    api.script(ONE, [operation(ONE, "PROCESSING")])
    api.script(OTHER, [operation(OTHER, "PROCESSING")])
    api.script(THIRD, [operation(THIRD, "COMPLETED")])
    groups = {ONE: "spring", OTHER: "summer", THIRD: "autumn"}
    registrations = [
        Registration(id=name, kind="messages", group=group) for name, group in groups.items()
    ]
    async with measured(tmp_path, api, *registrations, sink=ScriptedSink()) as scene:
        for name in ("summer", "autumn"):
            await scene.daemon.seal(name, None)
        await scene.scraped_until("comms_poller_groups", 1, state="ended")
        page = await scene.scrape()
    assert page.by("comms_poller_groups", "state") == {"open": 1, "sealed": 1, "ended": 1}


@pytest.mark.parametrize(
    ("answer", "metric", "labels"),
    [
        (Reply(status=401), "account_paused", {"reason": "unauthorized"}),
        (
            Reply(status=429, headers={"retry-after": "60"}),
            "account_paused",
            {"reason": "throttled"},
        ),
        (Reply(status=403), "kind_paused", {"kind": "messages"}),
    ],
    ids=["401", "429", "403"],
)
async def test_pauses_are_shown(
    api: FakeApi, tmp_path: Path, answer: Reply, metric: str, labels: dict[str, str]
) -> None:
    """What holds requests back is 1, all other pauses are 0."""
    api.override = answer
    async with measured(tmp_path, api, registration(ONE), sink=ScriptedSink()) as scene:
        await scene.scraped_until(f"comms_poller_{metric}", 1, **labels)
        page = await scene.scrape()
    paused = page.total("comms_poller_account_paused") + page.total("comms_poller_kind_paused")
    assert paused == 1


async def test_a_closed_sink_is_disabled(api: FakeApi, tmp_path: Path) -> None:
    """A sink that is gone for the life of this process is shown as disabled."""
    api.script(ONE, [operation(ONE, "PROCESSING")])
    closed = SinkOutcome(verdict=SinkVerdict.CLOSED, error="closed")
    sink = ScriptedSink(answers=lambda _: closed)
    async with measured(tmp_path, api, registration(ONE), sink=sink) as scene:
        await scene.scraped_until("comms_poller_sink_state", 1, sink="app", state="disabled")


async def test_no_operation_and_no_label_is_shown(api: FakeApi, tmp_path: Path) -> None:
    """Nothing on the page says what was sent, for whom, or with which secret."""
    script_odd_campaign(api)
    api.script(OTHER, [operation(OTHER, "CANCELED")])
    sink = once_refused()
    registrations = [registration(ONE), registration(OTHER, "emails")]
    async with measured(tmp_path, api, *registrations, sink=sink) as scene:
        await scene.scraped_until("comms_poller_operations", 0)
        pages = [
            (await scene.exposition.render(accept))[0].decode() for accept in (OPENMETRICS, "")
        ]
    for page in pages:
        for secret in (ONE, OTHER, "comms_operation", CAMPAIGN, "campaign", ACCOUNT, TOKEN):
            assert secret not in page
        assert api.base_url not in page


async def test_a_store_that_cannot_be_read_leaves_the_rest(api: FakeApi, tmp_path: Path) -> None:
    """What was counted is shown all the same; gauges of the store are missing, not wrong."""
    api.script(ONE, [operation(ONE, "PROCESSING")])
    async with measured(tmp_path, api, registration(ONE), sink=ScriptedSink()) as scene:
        await scene.scraped_until("comms_poller_operations", 1)
        scene.counts.refuses = True
        # an answer that takes long is that of the count before
        await scene.scraped_until("comms_poller_store_readable", 0)
        page = await scene.scrape()
        assert "comms_poller_operations{" not in page.text
        assert page.total("comms_poller_polls_total", outcome="ok") > 0
        scene.counts.refuses = False
        await scene.scraped_until("comms_poller_operations", 1)


async def test_the_store_is_counted_now_and_then(api: FakeApi, tmp_path: Path) -> None:
    """However many ask, and however often, the store is counted once in a while."""
    sink = ScriptedSink()
    async with measured(tmp_path, api, registration(ONE), sink=sink, seconds=math.inf) as scene:
        async with anyio.create_task_group() as scrapers:
            for _ in range(20):
                scrapers.start_soon(scene.scrape)
        counted = (await scene.scrape()).total(
            "comms_poller_store_transaction_duration_seconds_count",
            transaction="counts.count_watched",
        )
    assert counted == 1


@pytest.mark.parametrize("openmetrics", [True, False])
async def test_the_format_is_negotiated(
    api: FakeApi,
    tmp_path: Path,
    openmetrics: bool,  # noqa: FBT001 - one of two formats
) -> None:
    """OpenMetrics is for those who ask for it, Prometheus' own text for all others."""
    async with measured(tmp_path, api, sink=ScriptedSink()) as scene:
        for accept in ASKS_FOR_OPENMETRICS if openmetrics else ASKS_FOR_TEXT:
            headers = {} if accept is None else {"Accept": accept}
            answer = await scene.client.get("/metrics", headers=headers)
            kind = answer.headers["content-type"].partition(";")[0]
            assert kind == (OPENMETRICS if openmetrics else "text/plain"), accept
            assert answer.text.endswith("# EOF\n") is openmetrics, accept
            if not openmetrics:
                assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
                assert {family.name for family in read_text(answer.text)} >= {"comms_poller_polls"}
                assert "_created" not in answer.text
