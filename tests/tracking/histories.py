"""Arbitrary histories of one operation: answers of every sort, with restarts anywhere between."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

from hypothesis import strategies as st
from sqlalchemy import RowMapping

from poller.store.rows import watch_of, watch_values
from poller.text import format_instant
from poller.tracking.alert import AlertRule
from poller.tracking.answer import Verdict
from poller.tracking.event import Event, event_id
from poller.tracking.pacing import Policy
from poller.tracking.watch import Watch
from tests.tracking.story import HOME, START, Story

DAY = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One answer, `gap` seconds after the last. `updated` and `created` are seconds from then."""

    gap: float
    how: str = "see"
    status: str = "PROCESSING"
    stats: dict[str, Any] = field(default_factory=dict)
    updated: float | str | None = None
    created: float | None = None
    fetched: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """Something that happens to the watch itself: `forget`, `register`, `restart` or `prune`."""

    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one look did: when, the next look in seconds, its events, the watch that it left."""

    now: datetime
    due_in: float
    verdict: Verdict
    events: Sequence[Event]
    watch: Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A whole history as it was played."""

    policy: Policy
    turns: Sequence[Turn]
    events: Sequence[Event]
    watch: Watch

    @property
    def lines(self) -> list[str]:
        """The events as a sink that wants all of them writes them."""
        return [
            event.render(event_id(event.time, entropy=number))
            for number, event in enumerate(self.events)
        ]


_KNOWN_COUNTERS = ("total", "queued", "scheduled", "sent", "delivered", "failed")
_STATUSES = ("SCHEDULED", "PROCESSING", "PROCESSING", "PROCESSING", "COMPLETED", "CANCELED", "ODD")

_STATS = st.fixed_dictionaries(
    {},
    optional={
        **{name: st.integers(0, 30) | st.none() for name in _KNOWN_COUNTERS},
        "clicked": st.integers(-3, 30) | st.booleans() | st.text(max_size=3) | st.floats(0, 1),
        "note": st.text(max_size=5),
    },
)
_GAPS = st.floats(0, 30) | st.floats(0, 700) | st.floats(0, 3 * DAY)
_SEEN = st.builds(
    Look,
    gap=_GAPS,
    status=st.sampled_from(_STATUSES),
    stats=_STATS,
    updated=st.none() | st.floats(-600, 600) | st.sampled_from(["", "soon", "2026-11-22"]),
    created=st.none() | st.floats(-6 * DAY, DAY),
    fetched=st.booleans(),
)
_UNSEEN = st.builds(
    Look, gap=_GAPS, how=st.sampled_from(["not_found", "rejected", "nonsense", "fail"])
)
_CONTROLS = st.builds(Control, what=st.sampled_from(["forget", "register", "restart", "prune"]))
_STEPS = st.lists(_SEEN | _SEEN | _UNSEEN | _CONTROLS, max_size=15)

POLICIES = st.builds(
    lambda lowest, factor, progress, settle, grace: Policy(
        min_interval=lowest,
        max_interval=lowest * factor,
        progress_interval=progress,
        settle=settle,
        not_found_grace=grace,
        alerts=(AlertRule(name="many", counters=("failed",), count=20),),
    ),
    st.floats(0.05, 60),
    st.floats(1, 100),
    st.just(0.0) | st.floats(0, 120),
    st.just(0.0) | st.floats(1, 5000),
    st.just(0.0) | st.floats(0, 300),
)


def play(policy: Policy, steps: Sequence[Look | Control]) -> History:
    """Let these things happen to a new watch, one after the other."""
    story = Story(policy)
    turns: list[Turn] = []
    for step in steps:
        if isinstance(step, Look):
            turns.append(_look(story, step))
        else:
            _control(story, step)
    return History(policy=policy, turns=turns, events=story.events, watch=story.watch)


def restart(watch: Watch) -> Watch:
    """Write the watch as the store does, and read it back."""
    row = watch_values(watch)
    for name in ("labels", "snapshot", "counters", "emitted_counters"):
        row[name] = json.loads(json.dumps(row[name]))
    return watch_of(cast("RowMapping", row), HOME)


def _look(story: Story, look: Look) -> Turn:
    story.wait(look.gap)
    if look.how == "see":
        stats: dict[str, Any] = look.stats
        decision = story.see(
            look.status,
            updated=_instant(story.now, look.updated),
            created=_instant(START, look.created),
            fetched=look.fetched,
            **stats,
        )
    else:
        decision = getattr(story, look.how)()
    return Turn(
        now=story.now,
        due_in=story.due_in,
        verdict=decision.verdict,
        events=decision.events,
        watch=decision.watch,
    )


def _control(story: Story, control: Control) -> None:
    match control.what:
        case "forget":
            story.forget()
        case "register":
            story.register()
        case "restart":
            story.watch = restart(story.watch)
        case "prune" if not story.watch.is_watched:
            # what retention leaves of it
            story.watch = story.watch.evolve(snapshot=None, counters={}, labels={})


def _instant(base: datetime, offset: float | str | None) -> str | None:
    if offset is None or isinstance(offset, str):
        return offset
    return format_instant(base + timedelta(seconds=offset))


_BEGIN = Look(gap=0, stats={"total": 3, "queued": 3})
_END = [Look(gap=1, status="CANCELED"), Look(gap=10 * DAY, status="COMPLETED")]

HISTORIES = st.builds(play, POLICIES, _STEPS)
"""Any history; the operation may be forgotten, pruned and registered again."""

ONE_WATCH = st.builds(
    play,
    POLICIES,
    st.lists(_SEEN | _SEEN | _UNSEEN | st.just(Control(what="restart")), max_size=15),
)
"""A history that nobody forgets or registers again."""

EVENTFUL = st.builds(play, POLICIES, _STEPS.map(lambda steps: [_BEGIN, *steps, *_END]))
"""Any history with an event at least."""

ENDED = st.builds(play, POLICIES, st.lists(_SEEN, max_size=10).map(lambda it: [_BEGIN, *it, *_END]))
"""A history of at least two events, the last of them final."""
