"""Watching a group: what is asked of the daemon, when it ends, and the picture."""

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import anyio
import pytest
from rich.console import Console, Group

from poller.cli.watch.followed import Followed
from poller.cli.watch.group import GroupFollower, GroupView, draw_group, is_well
from poller.cli.watch.news import GroupUpdate, News, Trouble
from poller.control.client import ControlClient
from poller.server.documents import GroupDocument
from poller.tracking.event import event_id
from poller.tracking.registration import Registration, register
from poller.tracking.watch import AccountScope, Watch
from tests.control.fake_daemon import A, Asked, B, FakeDaemon, Reply, document, frame, problem
from tests.tracking.story import START
from tests.tracking.test_group import Scene

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
HOME = AccountScope(account="default", base_url="https://comms.twilio.com/v1")


def group(state: str = "sealed", **members: object) -> dict[str, Any]:
    """Make the document of a group of 12 with 118,400 recipients."""
    watching = 0 if state == "ended" else 9
    return {
        "name": "autumn",
        "state": state,
        "labels": {"campaign": "autumn"},
        "operations": {
            "total": 12,
            "completed": 12 - watching,
            "canceled": 0,
            "lost": 0,
            "watching": watching,
        },
        "expected": 12,
        "progress": {
            "total": 118_400,
            "done": 59_200,
            "failed": 640,
            "stages": {"delivered": 58_560, "failed": 640, "queued": 59_200},
            "perSecond": 148.0,
            "secondsLeft": 400.0,
        },
        "pruned": False,
        **members,
    }


async def news_of(
    answer: Callable[[Asked], Reply], *, shown: int | None
) -> tuple[list[News], FakeDaemon]:
    """Follow the group until its news end."""
    found: list[News] = []
    send, receive = anyio.create_memory_object_stream[News](100)
    with FakeDaemon(answer) as daemon:
        async with ControlClient(daemon.address, token=None) as client:
            follower = GroupFollower("autumn", client=client, shown=shown, interval=0.01)
            with anyio.fail_after(30):
                await follower.run(send)
        with receive:
            found = [one async for one in receive]
    return found, daemon


async def test_it_looks_until_the_group_has_ended() -> None:
    """At the group and at as many members as are shown, those that are watched first."""
    states = iter(["sealed", "ended"])

    def answer(asked: Asked) -> Reply:
        if asked.path == "/v1/groups/autumn":
            return Reply(body=group(next(states)))
        found = [document(A)] if "active" in asked.query["phase"] else [document(B, "COMPLETED")]
        return Reply(body={"operations": found, "next": None})

    news, daemon = await news_of(answer, shown=5)
    assert [one.group["state"] for one in news if isinstance(one, GroupUpdate) and one.group] == [
        "sealed",
        "ended",
    ]
    assert isinstance(news[0], GroupUpdate)
    assert [one["id"] for one in news[0].members] == [A, B]
    lists = [one.query for one in daemon.asked if one.path == "/v1/operations"]
    assert [(one["group"], one["limit"]) for one in lists[:2]] == [
        (["autumn"], ["5"]),
        (["autumn"], ["4"]),
    ]


def lines() -> list[dict[str, Any]]:
    """Make the events of a group of two with those of its members."""
    scene = Scene()
    scene.register(1, 2)
    scene.see(1, "COMPLETED", delivered=1)
    scene.seal()
    scene.see(2, "COMPLETED", delivered=1)
    rendered = [
        event.render(event_id(START, number)) for number, event in enumerate(scene.everything)
    ]
    return [json.loads(one) for one in rendered]


async def test_its_events_end_with_group_completed() -> None:
    """After a cut the stream goes on behind the last event, and nothing is printed twice."""
    events = lines()
    asked_for: list[str | None] = []

    def answer(asked: Asked) -> Reply:
        if asked.path == "/v1/groups/autumn":
            return Reply(body=group("ended" if len(asked_for) > 1 else "sealed"))
        asked_for.append(asked.headers.get("last-event-id"))
        shown = events[:2] if len(asked_for) == 1 else events
        return Reply(body=frame(*shown), type="text/event-stream")

    news, daemon = await news_of(answer, shown=None)
    updates = [one for one in news if isinstance(one, GroupUpdate)]
    printed = [event.id for one in updates for event in one.events]
    assert printed == [one["id"] for one in events]
    assert asked_for == [None, events[1]["id"]]
    assert updates[-1].group is not None
    assert next(one for one in daemon.asked if one.path == "/v1/events").query == {
        "group": ["autumn"],
        "from": ["oldest"],
    }


@pytest.mark.parametrize("shown", [5, None])
async def test_a_daemon_that_does_not_answer_is_waited_for(shown: int | None) -> None:
    """The view says so until it answers again."""
    refused = [problem(503, "store")] * 2

    def answer(asked: Asked) -> Reply:
        if refused:
            return refused.pop()
        if asked.path == "/v1/operations":
            return Reply(body={"operations": [], "next": None})
        return Reply(body=group("ended", pruned=True))

    news, _ = await news_of(answer, shown=shown)
    assert [type(one) for one in news] in (
        [Trouble, GroupUpdate, type(None)],
        [Trouble, type(None), GroupUpdate],
    )


async def test_a_group_that_is_no_longer_known_ends_it() -> None:
    """Waiting would not bring it back."""
    news, _ = await news_of(lambda _: problem(404, "unknown-group"), shown=5)
    [trouble] = news
    assert isinstance(trouble, Trouble)
    assert trouble.fatal


def test_what_is_well() -> None:
    """Ended, all members completed, and nobody failed."""
    whole = group("ended")
    whole["progress"]["failed"] = 0
    assert is_well(cast("GroupDocument", whole))
    assert not is_well(cast("GroupDocument", group("ended")))
    whole["operations"] |= {"completed": 11, "lost": 1}
    assert not is_well(cast("GroupDocument", whole))


def watch(name: str) -> Watch:
    """Make a member that is under way."""
    found, _ = register(None, Registration(id=name, kind="messages"), scope=HOME, now=NOW)
    shown = document(name, stats={"total": 10_000, "delivered": 4_000, "failed": 64})
    return Followed(watch=found).after_document(cast("Any", shown)).watch


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", ["autumn", "a" * 64])
def test_the_picture(width: int, name: str) -> None:
    """One bar for the whole and one for each member, on as many columns as there are."""
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None)
    shown = cast("GroupDocument", group(name=name))
    console.print(Group(*draw_group(shown, [watch(A), watch(B)], now=NOW, width=width)))
    drawn = out.getvalue().splitlines()
    assert max(map(len, drawn)) <= width
    assert drawn[0].strip() == f"group {name}"
    assert drawn[1].startswith("sealed")
    assert drawn[1].rstrip().endswith("59,200/118,400  148/s  6m 40s left")
    assert drawn[2].startswith("3 of 12 operations ended · 58,560 delivered, 640 failed")
    assert sum("4,064/10,000" in line for line in drawn) == 2
    assert drawn[-1].strip() == "and 10 more"


async def test_the_view_shows_the_last_state_and_why_it_is_the_last() -> None:
    """Also the trouble that there was."""
    out = io.StringIO()
    console = Console(file=out, width=80, color_system=None)
    view = GroupView("autumn", scope=HOME, console=console, now=lambda: NOW)
    member = cast("Any", document(A))
    await view.show([GroupUpdate(group=cast("GroupDocument", group()), members=[member])])
    await view.show([Trouble(what="no answer", fault=cast("Any", None)), None])
    await view.show([Trouble(what="no answer again", fault=cast("Any", None))])
    await view.close("Interrupted.")
    drawn = out.getvalue()
    assert "group autumn" in drawn
    assert A[-6:] in drawn
    assert "! no answer again" in drawn
    assert drawn.rstrip().endswith("Interrupted.")
