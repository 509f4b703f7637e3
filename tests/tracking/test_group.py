"""Groups: sums, the seal, one end, one event for each transaction, and breakdowns."""

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from poller.comms.kinds import kind_named
from poller.comms.models import decode_operation
from poller.tracking.alert import AlertRule, AlertSubject
from poller.tracking.answer import FoundAnswer, RejectedAnswer
from poller.tracking.breakdown.state import Breakdown
from poller.tracking.delivery import SUMMARY, Subscription
from poller.tracking.event import Event, event_id, load_event_schema, read_event
from poller.tracking.group import (
    Group,
    add_breakdown,
    advance,
    change_member,
    changes_group,
    explain,
    new_group,
    seal,
)
from poller.tracking.member_sums import MemberCounts, share_labels
from poller.tracking.observe import observe
from poller.tracking.pacing import Policy
from poller.tracking.progress import Recipients
from poller.tracking.registration import Conflict, Registration, forget, register
from poller.tracking.watch import Outcome, Phase, Watch
from tests.oracle import judge
from tests.tracking.story import HOME, START, new_watch

VALIDATOR = Draft202012Validator(
    load_event_schema(), format_checker=Draft202012Validator.FORMAT_CHECKER
)
NAME = "autumn"
MESSAGE = "comms_message_01h9krwprkeee8fzqspvwy6nq8"


def op(number: int) -> str:
    """Return an operation id."""
    return f"comms_operation_0{number:025d}"


class Scene:
    """A group and its members as the store would have them, one transaction a call."""

    def __init__(self, policy: Policy | None = None, *, name: str = NAME) -> None:
        self.policy = policy or Policy(progress_interval=0)
        self.now = START
        self.group = new_group(name, scope=HOME, now=START)
        self.watches: dict[str, Watch] = {}
        self.events: list[Event] = []
        self.everything: list[Event] = []
        """The events of the members, too, in the order of a store."""
        self.total = Breakdown(sources=())

    def wait(self, seconds: float) -> "Scene":
        """Let time pass."""
        self.now += timedelta(seconds=seconds)
        return self

    def register(self, *numbers: int, group: str | None = NAME, **labels: str) -> None:
        """Register operations."""
        changed = self.group
        watches = dict(self.watches)
        for number in numbers:
            before = watches.get(op(number))
            wanted = Registration(id=op(number), kind="messages", labels=labels, group=group)
            after, _ = register(before, wanted, scope=HOME, now=self.now)
            changed = change_member(changed, before, after, now=self.now)
            watches[op(number)] = after
        self.group, self.watches = changed, watches
        self.commit()

    def see(self, number: int, status: str = "PROCESSING", **stats: int) -> None:
        """Observe an operation."""
        document = {"id": op(number), "status": status, "stats": stats}
        found = decode_operation(document, kind=kind_named("messages"), expected_id=op(number))
        self.answer(number, FoundAnswer(found=found, begun_at=self.now, arrived_at=self.now))

    def lose(self, number: int) -> None:
        """Let the API reject it twice."""
        for _ in range(2):
            self.answer(number, RejectedAnswer(begun_at=self.now, arrived_at=self.now))

    def answer(self, number: int, answer: FoundAnswer | RejectedAnswer) -> None:
        """Take any answer."""
        before = self.watches[op(number)]
        decision = observe(before, answer, policy=self.policy, now=self.now, jitter=0)
        self.everything += decision.events
        self.put(before, decision.watch)

    def put(self, before: Watch, after: Watch) -> None:
        """Write a watch, and let its group know."""
        self.watches[after.id] = after
        self.group = change_member(self.group, before, after, now=self.now)
        self.commit()

    def forget(self, number: int) -> None:
        """Stop watching one."""
        before = self.watches[op(number)]
        self.put(before, forget(before, now=self.now))

    def explained(self, number: int, *codes: int) -> None:
        """Let a member emit its breakdown, one failure for each code."""
        before = self.watches[op(number)]
        part = {
            "errors": [
                {"code": code, "count": 1, "message": f"no {code}", "infoUrl": None, "samples": []}
                for code in codes
            ],
            "messages": [{"status": "FAILED", "channel": "PHONE", "count": len(codes)}],
            "complete": True,
            "missing": [],
        }
        self.group, self.total = add_breakdown(self.group, self.total, before, part)
        self.put(before, before.evolve(phase=Phase.ENDED, ended_at=self.now))

    def seal(self, expected: int | None = None) -> None:
        """Seal it."""
        self.group = seal(self.group, expected, now=self.now)
        self.commit()

    def commit(self) -> None:
        """Ask for the events of one transaction."""
        if self.group.labels is None:
            own = [watch.labels for watch in self.members]
            self.group = self.group.evolve(labels=share_labels(own))
        self.group, events = advance(self.group, policy=self.policy, now=self.now)
        assert sum(event.alert is None for event in events) <= 1
        self.group, explained = explain(self.group, self.total, now=self.now)
        self.events += (*events, *explained)
        self.everything += (*events, *explained)

    @property
    def members(self) -> list[Watch]:
        """The watches that name the group."""
        return [watch for watch in self.watches.values() if watch.group == self.group.name]

    @property
    def types(self) -> list[str]:
        """The types of all events, without their family."""
        return [event.type.value.partition(".")[2] for event in self.events]

    @property
    def last(self) -> Mapping[str, Any]:
        """The data of the last event."""
        return self.events[-1].data

    @property
    def counts(self) -> MemberCounts:
        """Where the members stand."""
        return self.group.members


def documents(scene: Scene) -> list[dict[str, Any]]:
    """Read the events as a sink gets them."""
    return [json.loads(event.render(event_id(START, n))) for n, event in enumerate(scene.events)]


def test_the_whole_event() -> None:
    """Every member as the contract shows it, in its order."""
    scene = Scene()
    scene.register(1, campaign="autumn", part="1")
    scene.register(2, campaign="autumn", part="2")
    scene.see(1, "COMPLETED", delivered=3, failed=1)
    scene.see(2, "CANCELED", delivered=1, queued=0)
    scene.wait(0.5).seal()
    event = documents(scene)[-1]
    assert event["type"] == "group.completed"
    assert event["source"] == "urn:comms-poller:AC1:groups:autumn"
    assert (event["subject"], event["partitionkey"], event["sequence"]) == (
        "autumn",
        "autumn",
        "0000000005",
    )
    assert event["data"] == {
        "group": "autumn",
        "operations": {"total": 2, "completed": 1, "canceled": 1, "lost": 0, "watching": 0},
        "stats": {"delivered": 4, "failed": 1, "queued": 0},
        "delta": {},
        "createdAt": "2026-11-22T10:00:00.000Z",
        "sealedAt": "2026-11-22T10:00:00.500Z",
        "labels": {"campaign": "autumn"},
        "final": True,
    }
    again = read_event(event)
    assert (again.subject, again.counters, again.kind) == ("autumn", event["data"]["stats"], None)
    assert again.is_of_group
    assert not judge(documents(scene)).problems


def test_a_group_ends_only_when_it_is_sealed() -> None:
    """All members may have ended long before."""
    scene = Scene()
    scene.register(1)
    scene.see(1, "COMPLETED", delivered=1)
    assert scene.types == ["progress", "progress"]
    scene.register(2)
    scene.see(2, "COMPLETED", delivered=1)
    scene.seal()
    scene.seal()
    assert scene.types == ["progress", "progress", "progress", "progress", "completed"]
    assert scene.group.ended_at == scene.now


def test_a_sealed_group_ends_with_its_last_member() -> None:
    """Not before, and its end carries everything: there is no progress in that transaction."""
    scene = Scene(Policy(progress_interval=60))
    scene.register(1, 2)
    scene.seal()
    scene.see(1, "COMPLETED", delivered=1)
    assert scene.types == ["progress"]
    scene.see(2, "COMPLETED", delivered=2)
    assert scene.types == ["progress", "completed"]
    assert (scene.last["stats"], scene.last["delta"]) == ({"delivered": 3}, {"delivered": 3})


def test_a_member_that_settles_is_still_watched() -> None:
    """Its final event is the one that ends it."""
    scene = Scene(Policy(progress_interval=0, settle=60))
    scene.register(1)
    scene.seal()
    scene.see(1, "COMPLETED", total=2, sent=2, delivered=0)
    assert scene.counts.watching == 1
    scene.see(1, "COMPLETED", total=2, sent=0, delivered=2)
    assert scene.types[-1] == "completed"


def test_progress_is_held_back_and_comes_when_the_interval_ends() -> None:
    """A change meanwhile makes no event, only a due time; one that is taken back makes none."""
    scene = Scene(Policy(progress_interval=10))
    scene.register(1)
    scene.wait(4).see(1, sent=5)
    assert scene.group.due_at == START + timedelta(seconds=10)
    scene.see(1, sent=0)
    assert scene.group.due_at is None
    scene.see(1, sent=7)
    scene.wait(6).commit()
    assert scene.types == ["progress", "progress"]
    assert scene.last["delta"] == {"sent": 7}
    # the clock went back: nothing waits for a moment in the future
    scene.wait(-3600).see(1, sent=8)
    assert scene.last["delta"] == {"sent": 1}


def test_expected_seals_with_the_last_member() -> None:
    """It may come before the first one, and again after the seal."""
    scene = Scene()
    scene.seal(2)
    assert scene.types == []
    scene.register(1)
    with pytest.raises(Conflict, match="sealed"):
        scene.register(2, 3)
    scene.register(2)
    assert scene.group.sealed_at == scene.now
    scene.seal(2)
    scene.seal()
    with pytest.raises(Conflict, match="sealed with 2 members, not 3"):
        scene.seal(3)


def test_what_cannot_be_sealed() -> None:
    """Fewer than there are; or nothing at all, which could never end."""
    scene = Scene()
    with pytest.raises(Conflict, match=r"no member; .*--expected"):
        scene.seal()
    scene.register(1, 2)
    with pytest.raises(Conflict, match="2 members, more than 1"):
        scene.seal(1)
    scene.seal()
    assert scene.group.expected == 2


def test_a_late_registration_is_refused_with_what_to_do() -> None:
    """A member may be registered again."""
    scene = Scene()
    scene.register(1)
    scene.seal()
    scene.register(1, part="2")
    with pytest.raises(Conflict, match="use another group, and seal a group only when"):
        scene.register(2)
    scene.see(1, "COMPLETED")
    with pytest.raises(Conflict, match=r"ended at .* use another name, .* after 2026-12-06"):
        scene.register(2)
    scene.register(1)
    assert scene.counts.total == 1


def test_an_id_is_in_one_group() -> None:
    """Registered without one it stays where it is; what was forgotten may join another."""
    scene = Scene()
    scene.register(1)
    scene.register(1, group=None)
    assert scene.watches[op(1)].group == NAME
    with pytest.raises(Conflict, match="is in the group autumn"):
        scene.register(1, group="winter")
    scene.see(1, sent=3)
    scene.forget(1)
    assert (scene.counts, scene.last["delta"]) == (MemberCounts(), {"sent": -3})
    scene.register(1)
    assert (scene.counts.watching, scene.last["delta"]) == (1, {"sent": 3})


def test_what_was_known_brings_its_counters() -> None:
    """Ended or not, and from a stub."""
    scene = Scene()
    scene.register(1, 2, group=None)
    scene.see(1, "COMPLETED", delivered=4)
    scene.see(2, sent=1)
    stub = scene.watches[op(1)].evolve(snapshot=None, counters={})
    scene.watches[op(1)] = stub
    scene.register(1, 2)
    assert scene.group.stats == {"delivered": 4, "sent": 1}
    assert scene.counts == MemberCounts(total=2, completed=1, watching=1)


def test_a_lost_member_that_is_watched_again_counts_as_watching() -> None:
    """Until the end of the group; then it goes on alone."""
    scene = Scene()
    scene.register(1, 2)
    scene.seal()
    scene.lose(1)
    assert scene.counts.lost == 1
    scene.register(1)
    assert scene.counts == MemberCounts(total=2, watching=2)
    scene.lose(1)
    scene.wait(1).see(2, "COMPLETED", delivered=1)
    assert scene.types[-1] == "completed"
    frozen = scene.group
    scene.wait(1).register(1)
    scene.see(1, "COMPLETED", delivered=7)
    assert scene.group == frozen
    assert scene.watches[op(1)].group == NAME


def test_labels_are_those_that_all_share() -> None:
    """Compared again where a member leaves or its labels change."""
    scene = Scene()
    scene.register(1, campaign="autumn", part="1")
    scene.register(2, campaign="autumn", part="2")
    assert scene.group.labels == {"campaign": "autumn"}
    scene.register(1, part="2")
    assert scene.group.labels == {"campaign": "autumn", "part": "2"}
    scene.register(3)
    assert scene.group.labels == {}
    scene.forget(3)
    assert scene.group.labels == {"campaign": "autumn", "part": "2"}
    assert dict(scene.last["labels"]) == scene.group.labels
    assert dict(scene.events[-1].labels) == scene.group.labels


def breaking() -> Scene:
    """Make a sealed group of two, whose members read what failed."""
    scene = Scene(Policy(progress_interval=0, breakdown=True))
    scene.register(1, 2)
    scene.seal()
    scene.see(1, "COMPLETED", total=2, failed=2)
    scene.see(2, "COMPLETED", total=3, failed=3)
    return scene


def test_the_breakdown_comes_after_the_last_members() -> None:
    """The end does not wait for it."""
    scene = breaking()
    assert scene.types[-1] == "completed"
    scene.explained(1, 30003, 30005)
    assert scene.types[-1] == "completed"
    scene.explained(2, 30003, 30007, 30003)
    assert scene.types[-2:] == ["completed", "breakdown"]
    found = scene.last["breakdown"]
    assert {one["code"]: one["count"] for one in found["errors"]} == {30003: 3, 30005: 1, 30007: 1}
    assert found["messages"] == [{"status": "FAILED", "channel": "PHONE", "count": 5}]
    assert (found["complete"], scene.last["delta"], scene.last["final"]) == (True, {}, False)
    assert not judge(documents(scene)).problems
    for document in documents(scene):
        VALIDATOR.validate(document)


def test_a_breakdown_that_is_given_up_does_not_hold_up_the_groups() -> None:
    """What is forgotten while it reads what failed brings nothing; without any is no event."""
    scene = breaking()
    scene.forget(2)
    scene.explained(1, 30003)
    assert scene.types[-2:] == ["completed", "breakdown"]
    silent = breaking()
    silent.forget(1)
    silent.forget(2)
    assert silent.types[-1] == "completed"


def test_who_goes_on_alone_adds_nothing_to_the_breakdown() -> None:
    """A lost member that is watched again after the end may have failures of its own."""
    scene = Scene(Policy(progress_interval=0, breakdown=True))
    scene.register(1, 2)
    scene.seal()
    scene.lose(1)
    scene.see(2, "COMPLETED", total=1, failed=1)
    scene.wait(1).register(1)
    scene.see(1, "COMPLETED", total=1, failed=1)
    scene.explained(1, 1)
    assert scene.types[-1] == "completed"
    scene.explained(2, 2)
    assert [one["code"] for one in scene.last["breakdown"]["errors"]] == [2]


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("data.group", "comms_x"),
        ("data.operations", {"total": 1}),
        ("data.operations.total", 0),
        ("data.operations.watching", 1),
        ("data.stats", {"sent": -1}),
        ("data.delta", {"sent": 0}),
        ("data.sealedAt", None),
        ("data.final", False),
        ("data.labels", None),
    ],
)
def test_what_is_no_event_of_a_group_is_refused(path: str, wrong: object) -> None:
    """One wrong member is enough."""
    scene = Scene()
    scene.register(1)
    scene.seal()
    scene.see(1, "COMPLETED", sent=1)
    document = documents(scene)[-1]
    VALIDATOR.validate(document)
    *way, name = path.split(".")
    place = document
    for step in way:
        place = place[step]
    place[name] = wrong
    assert not VALIDATOR.is_valid(document)


NUMBERS = st.integers(1, 4)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("register"), NUMBERS, st.sampled_from("ab")),
        st.tuples(st.just("alone"), NUMBERS, st.sampled_from("ab")),
        st.tuples(
            st.just("see"),
            NUMBERS,
            st.sampled_from(["PROCESSING", "PROCESSING", "COMPLETED", "CANCELED"]),
            st.integers(0, 9),
            st.integers(0, 3),
        ),
        st.tuples(st.just("lose"), NUMBERS),
        st.tuples(st.just("forget"), NUMBERS),
        st.tuples(st.just("seal"), st.none() | st.integers(1, 4)),
        st.tuples(st.just("wait"), st.sampled_from([0.5, 11.0, -20.0])),
    ),
    max_size=30,
)


def run(scene: Scene, step: tuple[Any, ...]) -> None:
    """Let one thing happen, where it can."""
    match step:
        case ("register", number, part):
            scene.register(number, part=part)
        case ("alone", number, part):
            scene.register(number, group=None, part=part)
        case ("see", number, status, sent, failed) if op(number) in scene.watches:
            scene.see(number, status, sent=sent, failed=failed)
        case ("lose", number) if op(number) in scene.watches:
            scene.lose(number)
        case ("forget", number) if op(number) in scene.watches:
            scene.forget(number)
        case ("seal", expected):
            scene.seal(expected)
        case ("wait", seconds):
            scene.wait(seconds).commit()
        case _:
            pass


def recount(members: list[Watch]) -> tuple[MemberCounts, dict[str, int]]:
    """Count the members and sum their counters, from nothing."""
    outcomes = [
        "watching" if one.phase in {Phase.ACTIVE, Phase.SETTLING} else str(one.outcome)
        for one in members
    ]
    names = ("completed", "canceled", "lost", "watching")
    counts = {name: outcomes.count(name) for name in names}
    sums: dict[str, int] = {}
    for one in members:
        for name, count in one.known_counters.items():
            sums[name] = sums.get(name, 0) + count
    return MemberCounts(total=len(members), **counts), {k: n for k, n in sums.items() if n}


@given(steps=STEPS, interval=st.sampled_from([0.0, 10.0]))
def test_whatever_happens_the_sums_are_those_of_the_members(
    steps: list[tuple[Any, ...]], interval: float
) -> None:
    """Counters in the row are what counting again gives; the oracle accepts every history."""
    scene = Scene(Policy(progress_interval=interval))
    for step in steps:
        frozen = scene.group if scene.group.ended_at is not None else None
        with suppress(Conflict):
            run(scene, step)
        if frozen is not None:
            assert scene.group == frozen
            continue
        counts, sums = recount(scene.members)
        assert scene.group.members == counts
        if scene.group.ended_at is None:
            assert {k: n for k, n in scene.group.stats.items() if n} == sums
            assert scene.group.labels == share_labels([one.labels for one in scene.members])
        check_end(scene.group, counts, scene.now)
    found = documents(scene)
    assert not judge(found, ended=False).problems
    for document in found:
        VALIDATOR.validate(document)


def check_end(group: Group, counts: MemberCounts, now: datetime) -> None:
    """Check that it has ended where it must, and only there."""
    over = group.sealed_at is not None and counts.total > 0 and not counts.watching
    assert (group.ended_at is not None) is over
    if not over:
        assert not group.has_changed or (group.due_at is not None and group.due_at > now)


def test_what_does_not_concern_the_group_is_seen() -> None:
    """A poll that shows nothing new need not lock its row."""
    scene = Scene()
    scene.register(1)
    scene.see(1, sent=1)
    before = scene.watches[op(1)]
    scene.see(1, sent=1)
    assert not changes_group(before, scene.watches[op(1)])
    scene.see(1, sent=2)
    assert changes_group(before, scene.watches[op(1)])


def test_a_group_is_judged_by_the_sums_of_its_members() -> None:
    """Finished are its members' finished ones; it fires once, before the event of that change."""
    rule = AlertRule(
        name="bounces", of=AlertSubject.GROUP, counters=("failed",), ratio=0.1, at_least=100
    )
    scene = Scene(Policy(progress_interval=60, alerts=(rule,)))
    scene.register(1, 2)
    scene.see(1, total=100, sent=1, delivered=89, failed=10)
    assert scene.group.recipients.done == 99
    scene.see(2, total=100, sent=99, delivered=0, failed=1)
    assert scene.types == ["progress", "alert"]
    assert scene.last["alert"]["value"] == 0.11
    assert scene.last["delta"]["failed"] == 11
    assert scene.last["final"] is False
    scene.see(2, total=100, sent=0, delivered=50, failed=50)
    scene.seal()
    scene.see(1, "COMPLETED", total=100, delivered=0, failed=100)
    scene.see(2, "COMPLETED", total=100, delivered=0, failed=100)
    assert scene.types == ["progress", "alert", "completed"]
    assert scene.group.emitted.alerts == ("bounces",)
    assert scene.group.recipients.done == 200
    documents = [json.loads(event.render(f"e{event.sequence}")) for event in scene.events]
    for document in documents:
        VALIDATOR.validate(document)
    assert not judge(documents).problems


def test_the_last_change_of_a_group_may_fire_first() -> None:
    """The alert comes before the end, which has nothing to add."""
    rule = AlertRule(name="any", of=AlertSubject.GROUP, counters=("failed",), count=1)
    scene = Scene(Policy(progress_interval=0, alerts=(rule,)))
    scene.register(1, campaign="autumn")
    scene.seal()
    scene.see(1, "COMPLETED", total=1, failed=1)
    assert scene.types[-2:] == ["alert", "completed"]
    assert scene.last["delta"] == {}


def test_the_finished_ones_of_who_leaves_are_taken_off() -> None:
    """Like its counters."""
    scene = Scene()
    scene.register(1, 2)
    scene.see(1, total=2, delivered=2)
    scene.see(2, total=3, delivered=3)
    assert scene.group.recipients.done == 5
    scene.forget(1)
    assert scene.group.recipients.done == 3


def test_a_summary_is_of_a_group_or_of_what_is_in_none() -> None:
    """Ends and breakdowns of members are left out: their group says it all."""
    wanted = Subscription(sink="team", events=(SUMMARY,))
    scene = Scene()
    scene.register(1)
    scene.see(1, total=1, sent=1)
    scene.seal()
    scene.see(1, "COMPLETED", total=1, delivered=1)
    scene.explained(1, 30007)
    assert [event.type for event in scene.events if wanted.wants(event)] == [
        "group.completed",
        "group.breakdown",
    ]
    for group in ("autumn", None):
        watch, _ = register(
            None, Registration(id=op(9), kind="messages", group=group), scope=HOME, now=START
        )
        document = {"id": op(9), "status": "COMPLETED", "stats": {"total": 1, "failed": 1}}
        found = decode_operation(document, kind=kind_named("messages"))
        answer = FoundAnswer(found=found, begun_at=START, arrived_at=START)
        [event] = observe(watch, answer, policy=Policy(), now=START, jitter=0).events
        assert event.data.get("group") == group
        assert wanted.wants(event) is (group is None)
        VALIDATOR.validate(json.loads(event.render("e")))


def test_the_progress_of_a_group_sums_up_that_of_its_members() -> None:
    """Each is read in the way in which it counts; the sum of their counters is read as neither."""
    scene = Scene()
    scene.register(1, 2, 3)
    scene.see(1, total=10, sent=10, delivered=6)
    scene.see(2, total=10, sent=4, delivered=3, failed=1, queued=2)
    scene.see(3, "COMPLETED", total=5, delivered=4, failed=1)
    progress = scene.group.progress
    assert (progress.total, progress.done, progress.failed, progress.open) == (25, 15, 2, 10)
    scene.forget(2)
    progress = scene.group.progress
    assert (progress.total, progress.done, progress.failed, progress.open) == (15, 11, 1, 4)


def test_a_message_is_one_recipient_of_its_group() -> None:
    """Its counters are of its attempts: one that failed over has not failed."""
    failed_over = new_watch(watched=MESSAGE).evolve(
        group=NAME,
        counters={"failed": 1, "delivered": 1},
        snapshot={"id": MESSAGE, "status": "DELIVERED"},
        phase=Phase.ENDED,
        outcome=Outcome.COMPLETED,
    )
    group = change_member(new_group(NAME, scope=HOME, now=START), None, failed_over, now=START)
    assert group.recipients == Recipients(total=1, done=1, failed=0)
    failed = failed_over.evolve(outcome=Outcome.FAILED)
    assert change_member(group, failed_over, failed, now=START).recipients.failed == 1
    waits = failed_over.evolve(phase=Phase.ACTIVE, outcome=None)
    progress = change_member(group, failed_over, waits, now=START).progress
    assert (progress.total, progress.done, progress.open) == (1, 0, 1)


def test_the_rate_of_a_group_needs_no_member() -> None:
    """Over the last half minute; what was done before the first look at a member does not count."""
    scene = Scene()
    scene.register(1, 2)
    assert scene.group.finished_per_second(scene.now) is None
    scene.see(1, total=900, delivered=300, queued=600)
    assert scene.group.finished_per_second(scene.wait(1).now) is None
    for delivered in range(310, 410, 10):
        scene.wait(10).see(1, total=900, delivered=delivered, queued=900 - delivered)
    assert scene.group.finished_per_second(scene.now) == 1
    scene.see(2, total=500, delivered=500)
    assert scene.group.finished_per_second(scene.now) == 1
    scene.forget(2)
    assert scene.group.finished_per_second(scene.now) == 1
    # nothing moves: it falls
    assert scene.group.finished_per_second(scene.wait(50).now) == 0.5
    scene.seal()
    scene.see(1, "COMPLETED", total=900, delivered=900)
    assert scene.group.finished_per_second(scene.now) is None
