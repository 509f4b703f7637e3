"""Every metric is documented, and nothing else is; the formats are what their readers accept."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest as write_text
from prometheus_client.core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as write_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from structlog.testing import capture_logs

from poller.comms.caller import Request
from poller.comms.kinds import KINDS
from poller.engine.meter import NO_METER, Instrument, Meter
from poller.server.exposition import wants_openmetrics
from poller.server.metrics import PrometheusMeter
from poller.sinks.base import SinkOutcome, SinkVerdict
from poller.tracking.answer import Verdict
from poller.tracking.delivery import DeliveryState
from poller.tracking.lifecycle import EventType
from tests.server.full_page import ERRORS, FullPage, delivery, observation

PAGE = Path(__file__).parents[2] / "config/metrics.md"
_SUFFIX = {"counter": "_total", "info": "_info"}
_UNBOUNDED = {"sink", "loop", "transaction", "version"}


@pytest.fixture(scope="module")
def page() -> Mapping[str, Metric]:
    """Return every family by the name that is documented."""
    text = write_openmetrics(FullPage()).decode()  # type: ignore[no-untyped-call] # theirs
    families = read_openmetrics(text)  # type: ignore[no-untyped-call] # theirs
    return {family.name + _SUFFIX.get(family.type, ""): family for family in families}


def rows(columns: int) -> Iterator[list[str]]:
    """Read the rows of the tables with `columns` columns whose first cell is code."""
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `") and len(cells) == columns:
            yield cells


def code(cell: str) -> list[str]:
    """Return what is written as code."""
    return re.findall(r"`([^`]+)`", cell)


@pytest.fixture(scope="module")
def documented() -> Mapping[str, list[str]]:
    """Return the rows about metrics by name."""
    return {code(cells[0])[0]: cells for cells in rows(4)}


def labels_of(family: Metric) -> set[str]:
    """Collect the names of labels, but for those that the format adds."""
    return {label for sample in family.samples for label in sample.labels} - {"le"}


def test_every_metric_is_documented_and_every_documented_one_exists(
    page: Mapping[str, Metric], documented: Mapping[str, list[str]]
) -> None:
    """No more and no less, each once."""
    assert set(page) == set(documented)
    assert len(list(rows(4))) == len(documented)


def test_types_labels_and_meanings_are_documented(
    page: Mapping[str, Metric], documented: Mapping[str, list[str]]
) -> None:
    """A row says what the page says."""
    for name, (_, kind, labels, meaning) in documented.items():
        family = page[name]
        assert kind == family.type.replace("info", "gauge"), name
        assert set(code(labels)) == labels_of(family), name
        if not name.startswith("process_"):
            assert meaning == family.documentation, name


def test_every_value_of_a_label_is_documented(page: Mapping[str, Metric]) -> None:
    """The values of a label are listed in full, and nothing else."""
    possible = {(code(cells[0])[0], *code(cells[1])): set(code(cells[2])) for cells in rows(3)}
    seen: dict[tuple[str, ...], set[str]] = {}
    for name, family in page.items():
        for label in labels_of(family):
            key: tuple[str, ...] = (label, name)
            key = key if key in possible else (label,)
            values = {sample.labels[label] for sample in family.samples if label in sample.labels}
            seen.setdefault(key, set()).update(values)
    assert seen.keys() == possible.keys()
    for key, values in seen.items():
        if key[0] not in _UNBOUNDED:
            assert values == possible[key], key


def test_names_follow_the_conventions(page: Mapping[str, Metric]) -> None:
    """One prefix, base units, a help text that is a sentence."""
    for name, family in page.items():
        assert name.startswith(("comms_poller_", "process_"))
        assert not re.search(r"_(ms|millis|minutes|hours|kb|percent)(_|$)", name)
        assert family.documentation.endswith(".")
        assert (family.type == "counter") is name.endswith("_total")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool comes with Prometheus")
def test_promtool_has_nothing_to_say() -> None:
    """Prometheus' own linter finds no fault."""
    checked = subprocess.run(
        ["promtool", "check", "metrics"],  # noqa: S607 - where it is differs
        input=write_text(FullPage()),
        capture_output=True,
        check=False,
        timeout=60,
    )
    # the series that only OpenMetrics has a place for are left out of the page itself
    said = [line for line in checked.stderr.decode().splitlines() if "_created" not in line]
    assert not said


def test_what_happens_elsewhere_makes_no_series(page: Mapping[str, Metric]) -> None:
    """Statuses and kinds that nobody knows are added up under one name."""
    operations = {
        (sample.labels["kind"], sample.labels["status"]): sample.value
        for sample in page["comms_poller_operations"].samples
    }
    assert operations["messages", "other"] == 11
    assert operations["other", "PROCESSING"] == 2
    assert {kind for kind, _ in operations} == {*KINDS, "other"}
    overdue = {
        sample.labels["kind"]: sample.value
        for sample in page["comms_poller_operations_overdue_seconds"].samples
    }
    assert (overdue["messages"], overdue["emails"]) == (40, 0)


def test_each_failure_has_an_outcome_of_its_own() -> None:
    """No two kinds of failure are counted as one."""
    meter = PrometheusMeter()
    for error in ERRORS:
        meter.requested(Request.FETCH, kind="messages", error=error("a", "b"), seconds=0)
    [polls] = [family for family in meter.registry.collect() if family.name.endswith("_polls")]
    counted = [
        sample.value
        for sample in polls.samples
        if sample.name.endswith("_total") and sample.labels["outcome"] != "ok"
    ]
    assert counted == [1] * len(ERRORS)


def value(meter: PrometheusMeter, name: str, **labels: str) -> float | None:
    """Read one sample."""
    return meter.registry.get_sample_value(f"comms_poller_{name}", labels)


def test_detection_lag_counts_changes_only() -> None:
    """An event that tells no change, or a change without a moment, is no detection."""
    meter = PrometheusMeter()
    same = observation(delta={}, previousStatus="PROCESSING")
    undated = observation(operation={"id": "x", "status": "PROCESSING"})
    for one in (observation(), same, undated):
        meter.observed([one], kind="messages")
    assert value(meter, "detection_lag_seconds_count", kind="messages") == 1
    assert value(meter, "detection_lag_seconds_sum", kind="messages") == 20


def test_a_clock_that_went_back_makes_nothing_negative() -> None:
    """A histogram's sum never falls."""
    meter = PrometheusMeter()
    meter.polled(kind="messages", late=-3600)
    meter.settled(delivery(DeliveryState.DELIVERED, seconds=-60), sink="app")
    meter.observed([observation(observedAt="2026-11-22T09:00:00Z")], kind="messages")
    for name, labels in (
        ("schedule_lag", {"kind": "messages"}),
        ("delivery_lag", {"sink": "app"}),
        ("detection_lag", {"kind": "messages"}),
    ):
        assert value(meter, f"{name}_seconds_sum", **labels) == 0


def test_counters_of_sinks_begin_at_nothing() -> None:
    """The first dead letter is a step from 0, which a rate can see."""
    meter = PrometheusMeter()
    meter.expect(["app"])
    assert value(meter, "deliveries_dead_total", sink="app") == 0
    meter.settled(delivery(DeliveryState.DEAD), sink="app")
    meter.expect(["app"])
    assert value(meter, "deliveries_dead_total", sink="app") == 1


def tell(meter: Meter) -> None:
    """Call every method of a meter."""
    meter.requested(Request.LIST, kind="messages", error=None, seconds=1)
    meter.waited(1)
    meter.polled(kind="messages", late=1)
    meter.paged(kind="messages", unchanged=1, nonsense=1)
    meter.observed([observation(Verdict.LATE, EventType.OPERATION_LOST)], kind="messages")
    meter.recorded(observation(event_type=EventType.GROUP_PROGRESS).events)
    meter.attempted([SinkOutcome(verdict=SinkVerdict.GONE)], sink="app", seconds=1)
    meter.settled(delivery(DeliveryState.WAITING), sink="app")
    meter.pushed("accepted")
    meter.hinted({})
    meter.transacted("watches.record", 1, refused=False)


def test_without_an_instrument_nothing_is_measured() -> None:
    """A daemon that nobody measures runs the same code."""
    tell(NO_METER)


@pytest.mark.defects("an instrument that always fails")
def test_an_instrument_that_raises_is_logged_once_for_each_call() -> None:
    """With a traceback; who calls the meter notices nothing."""
    instrument = MagicMock()
    for name in vars(Instrument):
        if not name.startswith("_"):
            getattr(instrument, name).side_effect = KeyError(name)
    meter = Meter(instrument)
    with capture_logs() as logs:
        for _ in range(3):
            tell(meter)
    assert {line["event"] for line in logs} == {"meter.defect"}
    assert all(line["exc_info"] for line in logs)
    calls = [line["call"] for line in logs]
    assert sorted(calls) == sorted(name for name in vars(Meter) if name[:1] != "_")


@given(st.text())
def test_any_accept_header_is_read(accept: str) -> None:
    """A header of any shape means one format or the other."""
    assert wants_openmetrics(accept) in {True, False}
