"""The demo's parts: its campaign, its lines, its screen."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from poller.cli.commands.demo import CAMPAIGN, CONFIG, launch
from poller.cli.screen import Screen, event_line, line_maker
from poller.comms.ids import check_operation_id
from poller.simulator import World
from poller.sinks.base import OutgoingEvent, Sink, SinkVerdict
from poller.sinks.pipe import PipeWriter
from poller.sinks.stdout import StdoutSink
from poller.tracking.event import read_event
from tests.fakes.api import operation, operation_id

BEGUN = datetime(2026, 11, 22, 10, tzinfo=UTC)
NAME = operation_id(1)


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = BEGUN

    def __call__(self) -> datetime:
        """Return the instant."""
        return self.now

    def move_to(self, seconds: float) -> None:
        """Let this many seconds have passed since the beginning."""
        self.now = BEGUN + timedelta(seconds=seconds)


def event(kind: str = "progress", *, after: float = 3.0, **data: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return what a line shows of an event."""
    made: dict[str, Any] = {
        "operation": operation(NAME, "PROCESSING", total=400, delivered=150, failed=2),
        "kind": "messages",
        "previousStatus": "PROCESSING",
        "observedAt": None,
        "final": False,
        "reason": None,
        "delta": {"delivered": 120, "failed": 2, "queued": -122},
        "labels": {"campaign": "autumn"},
    }
    time = (BEGUN + timedelta(seconds=after)).isoformat()
    return {
        "type": f"operation.{kind}",
        "source": "https://comms.example.com",
        "sequence": "0000000001",
        "subject": NAME,
        "time": time,
        "data": {**made, **data},
    }


def line(document: dict[str, Any], *, width: int = 80, plain: bool = False) -> str:
    """Render a line without its colours."""
    return event_line(read_event(document), begun=BEGUN, width=width, plain=plain).plain


def test_the_campaign_has_three_fates() -> None:
    """One completes with failures, one is scheduled first, one is canceled half-way."""
    clock = Clock()
    operations = launch(world := World(CONFIG, clock=clock))

    def statuses(at: float) -> dict[str, str]:
        clock.move_to(at)
        seen = {name: world.find("messages", each.id) for name, each in operations.items()}
        return {name: each.status(clock.now) for name, each in seen.items() if each}

    assert statuses(1) == {"autumn": "PROCESSING", "survey": "SCHEDULED", "coupon": "PROCESSING"}
    assert statuses(6)["survey"] == "PROCESSING"
    assert statuses(11)["autumn"] == "COMPLETED"
    assert statuses(17) == {"autumn": "COMPLETED", "survey": "COMPLETED", "coupon": "CANCELED"}
    stats = {name: each.document(clock.now)["stats"] for name, each in operations.items()}
    assert stats["autumn"]["failed"] > 0
    assert stats["autumn"]["undelivered"] > 0
    assert 0 < stats["coupon"]["canceled"] < stats["coupon"]["total"]
    # what is over by then is also delivered: nothing is left on its way
    assert {each["sent"] + each["queued"] for each in stats.values()} == {0}


def test_the_last_two_end_at_the_same_moment() -> None:
    """No look can find one ended and the other going on: nothing follows their ends."""
    clock = Clock()
    operations = launch(World(CONFIG, clock=clock))
    last = max(send.ends for send in CAMPAIGN)
    found = set()
    for milliseconds in range(-50, 50):
        clock.move_to(last + milliseconds / 1000)
        found.add(
            tuple(
                operations[name].status(clock.now) == "PROCESSING" for name in ("survey", "coupon")
            )
        )
    assert (True, True) in found
    assert (False, False) in found
    assert len(found) <= 3, "one may be some milliseconds earlier, never both at times"


def test_the_ids_are_real_ones() -> None:
    """They pass the check that every id on the command line passes."""
    for each in launch(World(CONFIG)).values():
        check_operation_id(each.id)


def test_a_line_tells_what_changed() -> None:
    """Time, name, event, progress, and the outcomes that changed; nothing of what is on its way."""
    assert line(event()) == ("0:03  autumn  progress    ██░░░░ 152/400  +2 failed +120 delivered")
    assert line(event("completed", after=75.9)).startswith("1:15  autumn  completed ")


def test_a_line_needs_no_snapshot() -> None:
    """An operation that was never seen has no counters."""
    lost = event("lost", operation={"id": NAME}, delta={}, reason="not_found")
    assert line(lost) == "0:03  autumn  lost        ░░░░░░     0/0  not found"


def test_a_breakdown_tells_why() -> None:
    """The most frequent code first, in place of a bar."""
    cause = {"code": 30003, "count": 9, "message": "Unreachable destination handset."}
    breakdown = {"errors": [cause], "messages": [], "complete": True, "missing": []}
    shown = line(event("breakdown", breakdown=breakdown, delta={}))
    assert shown == ("0:03  autumn  breakdown   9 failed: 30003 Unreachable destination handset ×9")


def message_event(*attempts: dict[str, Any], plain: bool = False) -> str:
    """Show a message with these attempts."""
    made = event(delta={})
    made["type"] = "message.delivered"
    del made["data"]["operation"]
    made["data"]["message"] = {"id": "x", "status": "DELIVERED", "attempts": attempts, "stats": {}}
    return line(made, plain=plain)


def test_a_message_tells_its_attempts() -> None:
    """Each with its channel and status; ASCII where there is nothing else."""
    failed = {"from": {"channel": "RCS"}, "status": "FAILED", "error": {"code": 61337}}
    delivered = {"from": {"channel": "SMS"}, "status": "DELIVERED", "error": None}
    assert message_event(failed, delivered) == (
        "0:03  autumn  delivered   RCS failed 61337 → SMS delivered"
    )
    assert message_event(failed, delivered, plain=True).endswith("RCS failed 61337 > SMS delivered")


def test_lines_fit_and_are_aligned() -> None:
    """The longest line of the demo fits 80 columns; a wider screen has a longer bar."""
    long = event(
        "completed",
        operation=operation(NAME, "COMPLETED", total=500, delivered=500),
        delta={"delivered": 95, "failed": 9, "undelivered": 9},
    )
    assert len(line(long)) <= 80
    assert line(event("scheduled")).index("/") == line(long).index("/")
    assert line(long, width=90).count("█") == 16
    assert line(long, width=900).count("█") == 20


def test_a_line_is_cut_between_its_parts_and_shows_first_what_did_not_arrive() -> None:
    """A narrow screen loses what went well, and no word is cut."""
    many = event(
        "completed",
        operation=operation(NAME, "COMPLETED", total=1000, delivered=1000),
        delta={"delivered": 562, "read": 180, "opened": 88, "failed": 11, "undelivered": 7},
    )
    whole = " +11 failed +7 undelivered +562 delivered +180 read +88 opened"
    assert line(many, width=120).endswith(whole)
    assert line(many).endswith(" 1000/1000  +11 failed +7 undelivered …")
    fits = len(line(many, width=120))
    for width in range(50, 80 + len(whole)):
        shown = line(many, width=width)
        assert len(shown) <= width
        head, ellipsis, _ = shown.partition(" …")
        assert f"{whole} ".startswith(f"{head[head.index(' +') :] if ' +' in head else ''} ")
        assert ellipsis or width >= fits - 14


def test_a_falling_counter_is_shown_as_it_is() -> None:
    """What is read has left `delivered`."""
    read = event(delta={"delivered": -3, "read": 3})
    assert line(read).endswith(" -3 delivered +3 read")


def test_a_plain_screen_gets_ascii() -> None:
    """A terminal that knows only ASCII shows every character."""
    assert line(event(), plain=True).isascii()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Give the ends of a pipe."""
    reader, writer = os.pipe()
    yield reader, writer
    os.close(writer)


def outgoing(number: int) -> OutgoingEvent:
    """Make an event on its way to the screen."""
    body = json.dumps(event(after=number))
    return OutgoingEvent(id=str(number), body=body)


@pytest.mark.anyio
async def test_the_sink_shows_every_event(pipe: tuple[int, int]) -> None:
    """One line each, in order, delivered when it is written."""
    reader, writer = pipe
    sink = StdoutSink(writer=PipeWriter(writer), line=line_maker(Screen(writer), begun=BEGUN))
    assert isinstance(sink, Sink)
    await sink.start()
    outcomes = [*await sink.deliver([outgoing(1)]), *await sink.deliver([outgoing(2)])]
    await sink.aclose()
    assert [outcome.verdict for outcome in outcomes] == [SinkVerdict.DELIVERED] * 2
    shown = os.read(reader, 4096).decode().splitlines()
    os.close(reader)
    assert [each[:4] for each in shown] == ["0:01", "0:02"]
    assert all(before < after for before, after in pairwise(shown))


@pytest.mark.anyio
async def test_a_terminal_that_is_gone_closes_the_sink(pipe: tuple[int, int]) -> None:
    """A line that nobody can read any more is no success, and no exception."""
    reader, writer = pipe
    os.close(reader)
    screen = Screen(writer)
    (outcome,) = await StdoutSink(
        writer=PipeWriter(writer), line=line_maker(screen, begun=BEGUN)
    ).deliver([outgoing(1)])
    assert outcome.verdict is SinkVerdict.CLOSED
    await screen.say(event_line(read_event(event()), begun=BEGUN, width=80, plain=True))
