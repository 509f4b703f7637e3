"""What rows look like on terminals of every width."""

from collections import Counter
from io import StringIO

import pytest
from rich.console import Console, Group, RenderableType

from poller.cli.formatting import format_span
from poller.cli.watch.rows import WatchRow
from poller.cli.watch.table import (
    breakdown_lines,
    counts_line,
    detail_lines,
    format_rate,
    make_message_table,
    make_table,
    statuses_line,
    summary_line,
)
from poller.tracking.watch import ResourceType
from tests.golden.test_golden import compare

NAMES = {"comms_operation_1": "…000001", "comms_message_1": "…000002"}


def row(**changes: object) -> WatchRow:
    """Return a row in mid-run."""
    values: dict[str, object] = {
        "id": "comms_operation_1",
        "resource_type": ResourceType.OPERATION,
        "status": "processing",
        "reason": None,
        "counts": {
            "delivered": 4000, "failed": 30, "undelivered": 20, "unaddressable": 0, "canceled": 0,
        },
        "done": 4050,
        "total": 10_000,
        "rate": 41.5,
        "left": 143.4,
        "ended": False,
    }  # fmt: skip
    return WatchRow(**(values | changes))  # type: ignore[arg-type]  # the names are those of the fields


def drawn(what: RenderableType, width: int) -> list[str]:
    """Return the lines as a terminal of that width shows them, colours left out."""
    console = Console(file=StringIO(), width=width, height=50, force_terminal=False)
    with console.capture() as capture:
        console.print(what)
    return [line.rstrip() for line in capture.get().splitlines()]


def test_a_wide_terminal_shows_everything() -> None:
    """Names, status, bar, counts, rate and time left, under their headings."""
    heading, line = drawn(make_table([row()], NAMES, width=110), 110)
    assert heading.split() == (
        "operation status done delivered undelivered failed rate left".split()
    )
    before, _, after = line.partition("━")
    assert before.split() == ["comms_operation_1", "processing"]
    assert after.lstrip("━╸╺ ").split() == "4,050/10,000 4,000 20 30 42/s 2m 23s".split()


def test_rare_counts_are_shown_where_there_are_some() -> None:
    """Unaddressable and canceled recipients take no room while there are none."""
    counts = {**row().counts, "canceled": 7}
    heading, line = drawn(make_table([row(counts=counts)], NAMES, width=120), 120)
    assert "canceled" in heading
    assert "unaddressable" not in heading
    assert " 7 " in line


def test_the_live_view() -> None:
    """At 80 columns with the ends of ids, at 120 with what is random in them."""
    watched = [
        "comms_operation_4cmtqqee4dxct8s9nfeww9vtsm",
        "comms_operation_3ehamb9cwx0b2px2n8pjsvt0p5",
    ]
    names = {one: f"…{one[-6:]}" for one in watched}
    rows = [
        row(id=watched[0], polled=3.2, due=1.9, labels="campaign=autumn", group="autumn-sends"),
        row(id=watched[1], status="scheduled", rate=None, left=None, polled=4.0, due=0.4),
    ]
    pages = []
    for width in (80, 120, 140):
        lines = drawn(
            Group(make_table(rows, names, width=width), *detail_lines(rows, names)), width
        )
        assert all(len(line) <= width for line in lines)
        pages.append(f"{width} columns\n" + "\n".join(lines))
    compare("watch_view.txt", "\n\n".join(pages) + "\n")


@pytest.mark.parametrize("width", [40, 50, 60, 64, 70, 76, 80, 95, 96, 120, 200])
def test_a_row_is_one_line_at_every_width(width: int) -> None:
    """Columns are left out before they wrap or overflow."""
    lines = drawn(
        make_table([row(), row(status="completed", left=None)], NAMES, width=width), width
    )
    assert len(lines) == 3
    assert all(len(line) <= width for line in lines)


@pytest.mark.parametrize("width", [50, 80, 120])
def test_the_name_and_the_failures_are_never_left_out(width: int) -> None:
    """Whatever goes, what went wrong stays."""
    heading, line = drawn(make_table([row()], NAMES, width=width), width)
    assert "failed" in heading
    assert line.startswith(("…000001", "comms_operation_1"))
    assert " 30" in line


def test_a_lost_operation_says_why() -> None:
    """The reason stands beside the status, in words."""
    lost = row(status="lost", reason="not_found", total=None, done=0, rate=None, left=None)
    _, line = drawn(make_table([lost], NAMES, width=110), 110)
    assert "lost: not found" in line
    assert " – " in line


def message(**changes: object) -> WatchRow:
    """Return the row of a message whose fallback delivered."""
    made: dict[str, object] = {
        "id": "comms_message_1",
        "resource_type": ResourceType.MESSAGE,
        "status": "delivered",
        "attempts": "RCS failed 61337 → SMS delivered",
        "total": None,
        "rate": None,
        "left": None,
    }
    return row(**(made | changes))


def test_a_message_has_attempts_and_no_bar() -> None:
    """Its attempts are shown; it has no share done."""
    assert drawn(make_message_table([message()], NAMES, width=80), 80) == [
        "message status    attempts",
        "…000002 delivered RCS failed 61337 → SMS delivered",
    ]


@pytest.mark.parametrize("width", [40, 60, 95, 96, 200])
def test_a_message_is_one_line_at_every_width(width: int) -> None:
    """A long list of attempts is cut."""
    lines = drawn(make_message_table([message(attempts="x " * 200)], NAMES, width=width), width)
    assert len(lines) == 2
    assert all(len(line) <= width for line in lines)
    assert lines[1].endswith("…")


def test_what_failed_stands_below() -> None:
    """One breakdown takes the lines that it needs; of many each takes one, and a few are shown."""
    long = row(breakdown="120 failed: " + "30003 Unreachable " * 10)
    (one,) = breakdown_lines([row(), long], NAMES)
    assert len(drawn(Group(one), 80)) == 3
    many = breakdown_lines([long] * 8, NAMES)
    assert [len(drawn(Group(line), 80)) for line in many] == [1] * 6
    assert many[-1].plain == "and 3 more with failures"
    assert breakdown_lines([row(), message()], NAMES) == []


def test_a_summary_counts() -> None:
    """One or more, and how each is; nothing for none."""
    assert summary_line("message", Counter(delivered=2, sent=0, failed=1)).plain == (
        "3 messages: 2 delivered, 1 failed"
    )
    assert summary_line("message", Counter(read=1)).plain == "1 message: 1 read"
    assert not summary_line("operation", Counter())


def test_what_the_api_says_is_never_markup() -> None:
    """A status that looks like a style is text."""
    _, line = drawn(make_table([row(status="[red]x[/]")], NAMES, width=110), 110)
    assert "[red]x[/]" in line


def test_sums_leave_zeros_out() -> None:
    """Zeros are left out."""
    assert counts_line(Counter(delivered=1180, failed=0, canceled=2)).plain == (
        "1,180 delivered, 2 canceled"
    )
    assert statuses_line(Counter(completed=2, canceled=1, waiting=0)).plain == (
        "2 completed, 1 canceled"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (59.4, "59s"),
        (59.6, "1m 00s"),
        (123, "2m 03s"),
        (3720, "1h 02m"),
        (273_600, "3d 04h"),
    ],
)
def test_spans_read_at_a_glance(seconds: float, text: str) -> None:
    """Two units at most."""
    assert format_span(seconds) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [(0.0, "0.0/s"), (1234.5, "1,234/s"), (9.87, "9.9/s"), (0.1, "0.1/s"), (0.05, "3.0/min")],
)
def test_rates_read_at_a_glance(rate: float, text: str) -> None:
    """Slow ones by the minute."""
    assert format_rate(rate) == text
