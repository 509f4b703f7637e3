"""The audit of groups: what tracking makes is clean, and each broken promise is one problem."""

import json

import pytest

from poller.audit.audit import Audit, AuditProblem, AuditSummary, number_lines
from poller.audit.history import AuditFault
from poller.text import dump_json
from poller.tracking.event import event_id
from tests.audit.files import Document, set_to
from tests.tracking.story import START
from tests.tracking.test_group import Scene


def _scene() -> Scene:
    """Let one member complete with failures, one be canceled, one be lost and one be forgotten."""
    scene = Scene()
    scene.register(1, 2, 3, 4)
    scene.see(1, queued=5)
    scene.see(4, queued=9)
    scene.forget(4)
    scene.see(2, "CANCELED", canceled=3)
    scene.seal()
    scene.see(3, queued=1)
    scene.lose(3)
    scene.see(1, "COMPLETED", delivered=4, failed=1)
    return scene


def _documents(scene: Scene) -> list[Document]:
    return [
        json.loads(event.render(event_id(START, number)))
        for number, event in enumerate(scene.everything)
    ]


def _audit(documents: list[Document], **options: bool) -> tuple[list[AuditProblem], AuditSummary]:
    audit = Audit(**options)
    lines = [dump_json(document).encode() + b"\n" for document in documents]
    return list(audit.check(number_lines("events", lines))), audit.summary


def _of_group(documents: list[Document]) -> list[Document]:
    return [one for one in documents if one["type"].startswith("group.")]


def _explained() -> list[Document]:
    """Return the same, and what failed."""
    documents = _documents(_scene())
    end = _of_group(documents)[-1]
    number = f"{int(end['sequence']) + 1:010d}"
    more = {"delta": {}, "final": False, "breakdown": {"errors": []}}
    breakdown = {"id": "breakdown", "type": "group.breakdown", "sequence": number}
    return [*documents, end | breakdown | {"data": end["data"] | more}]


def test_what_is_whole_is_clean() -> None:
    """A group that ended, and its members; a summary says how many of each there are."""
    documents = _explained()
    assert {one["type"] for one in _of_group(documents)} == {
        "group.progress",
        "group.completed",
        "group.breakdown",
    }
    problems, summary = _audit(documents)
    assert problems == []
    assert (summary.operations, summary.groups, summary.unfinished) == (4, 1, 1)
    assert str(summary).startswith(f"{len(documents)} events of 4 operations and 1 group (1 unf")
    # the one that was forgotten has no end of its own
    assert [one.fault for one in _audit(documents, ended=True)[0]] == [AuditFault.UNFINISHED]


@pytest.mark.parametrize(
    ("path", "value", "what"),
    [
        ("source", "urn:comms-poller:AC1:groups:other", "source is "),
        ("data.group", "other", 'data.group is "other", not the subject'),
        ("data.operations", None, "data.operations is null, not an object"),
        ("data.operations.lost", -1, "data.operations.lost is -1, not an integer from 0"),
        ("data.stats", {"queued": "5"}, "data.stats is an object, not an object of integers fr"),
        ("data.delta", {"queued": 0}, "data.delta is an object, not an object of integers other"),
        ("data.sealedAt", "soon", 'data.sealedAt is "soon", not an RFC 3339 instant or null'),
        ("data.labels", [], "data.labels is a list, not an object of texts"),
        ("data.final", 1, "data.final is 1, not true or false"),
    ],
)
def test_a_misshapen_event(path: str, value: object, what: str) -> None:
    """It is one problem, which names the group."""
    documents = _documents(_scene())
    set_to(path, value)(_of_group(documents)[2])
    found, _ = _audit(documents)
    first = found[0]
    assert (first.fault, first.subject) == (AuditFault.SHAPE, "autumn")
    assert first.what.startswith(what)
    assert ": group autumn: " in str(first)


def test_a_missing_member_is_named() -> None:
    """As missing, not as null."""
    documents = _documents(_scene())
    del _of_group(documents)[2]["data"]["operations"]["lost"]
    [problem] = _audit(documents)[0]
    assert problem.what == "data.operations.lost is missing, not an integer from 0"


@pytest.mark.parametrize(
    ("path", "value", "what"),
    [
        ("data.final", False, "group.completed with data.final false"),
        ("data.operations.total", 4, "data.operations.total is 4, but the others sum to 3"),
        ("data.operations.watching", 1, "data.operations.total is 3, but the others sum to 4"),
    ],
)
def test_an_end_that_contradicts_itself(path: str, value: object, what: str) -> None:
    """Its numbers, its flag and its seal agree."""
    documents = _documents(_scene())
    set_to(path, value)(_of_group(documents)[-1])
    problems, _ = _audit(documents)
    assert (AuditFault.CONTRADICTION, what) in [(one.fault, one.what) for one in problems]


def test_an_end_without_a_seal() -> None:
    """A group ends when it is sealed, and has members that have all ended."""
    scene = Scene()
    scene.register(1)
    scene.seal()
    scene.see(1, "COMPLETED", delivered=1)
    documents = _documents(scene)
    for document in _of_group(documents):
        document["data"]["sealedAt"] = None
    [problem] = _audit(documents)[0]
    assert (problem.fault, problem.what) == (
        AuditFault.CONTRADICTION,
        "group.completed of a group that is not sealed",
    )


def test_what_is_sealed_stays_so() -> None:
    """Neither the moment nor a higher number of members may follow."""
    documents = _documents(_scene())
    sealed = [one for one in _of_group(documents) if one["data"]["sealedAt"]]
    assert len(sealed) > 2
    sealed[1]["data"]["sealedAt"] = None
    problems, _ = _audit(documents)
    assert [one.fault for one in problems] == [AuditFault.SEAL]
    documents = _documents(_scene())
    sealed = [one for one in _of_group(documents) if one["data"]["sealedAt"]]
    sealed[1]["data"]["operations"] |= {"total": 4, "watching": 2}
    problems, _ = _audit(documents)
    assert [one.what for one in problems] == [
        "data.operations.total is 4, but the group was sealed with 3"
    ]


def test_deltas_and_sequences_as_for_an_operation() -> None:
    """They are held against the events of the group before."""
    documents = _documents(_scene())
    group = _of_group(documents)
    group[1]["data"]["delta"] = {"queued": 4}
    assert [one.fault for one in _audit(documents)[0]] == [AuditFault.COUNTERS]
    documents = _documents(_scene())
    documents.remove(_of_group(documents)[1])
    assert [one.fault for one in _audit(documents)[0]] == [AuditFault.GAP]
    assert _audit(documents, allow_gaps=True)[0] == []


def _again(documents: list[Document], event_type: str, **data: object) -> Document:
    last = _of_group(documents)[-1]
    number = f"{int(last['sequence']) + 1:010d}"
    changed = last["data"] | {"delta": {}} | data
    return last | {"id": "again", "type": event_type, "sequence": number, "data": changed}


@pytest.mark.parametrize(
    ("event_type", "final", "what"),
    [
        ("group.completed", True, "group.completed after the final event"),
        ("group.progress", False, "group.progress after the final event"),
        ("group.alert", False, "group.alert after the final event"),
        ("group.breakdown", False, "group.breakdown is a second breakdown"),
    ],
)
def test_a_group_has_one_end(event_type: str, final: bool, what: str) -> None:  # noqa: FBT001 - a column of the table above
    """Only one breakdown follows it."""
    documents = _explained()
    [problem] = _audit([*documents, _again(documents, event_type, final=final)])[0]
    assert (problem.fault, problem.what) == (AuditFault.END, what)


def test_a_breakdown_before_the_end() -> None:
    """It comes after group.completed."""
    documents = _explained()
    end, breakdown = documents[-2:]
    end["sequence"], breakdown["sequence"] = breakdown["sequence"], end["sequence"]
    breakdown["data"]["delta"] = {}
    problems, _ = _audit([*documents[:-2], breakdown, end])
    assert (AuditFault.END, "group.breakdown before the final event") in [
        (one.fault, one.what) for one in problems
    ]


def test_sums_that_are_not_those_of_the_members() -> None:
    """Where every member can be seen; what the group itself says may well add up."""
    scene = _scene()
    documents = _documents(scene)
    end = _of_group(documents)[-1]
    end["data"]["stats"]["delivered"] += 1
    end["data"]["delta"]["delivered"] += 1
    [problem] = _audit(documents)[0]
    assert (problem.fault, problem.subject) == (AuditFault.SUMS, "autumn")
    assert (
        problem.what
        == "sums differ from those of the members: 'delivered' is 5, the members have 4"
    )
    # a member whose end is not there: nothing can be compared
    without = [one for one in documents if one["type"] != "operation.canceled"]
    assert _audit(without, allow_gaps=True)[0] == []


def test_a_lost_member_that_goes_on_alone_leaves_the_sums_of_its_group() -> None:
    """What it does after the end of the group is no longer the group's."""
    scene = _scene()
    scene.register(3)
    scene.see(3, "COMPLETED", delivered=1)
    assert _audit(_documents(scene))[0] == []


def test_a_name_may_be_used_again() -> None:
    """Long after the end of the first group; each has sequences of its own."""
    first, second = _scene(), Scene()
    second.group = second.group.evolve(created_at=second.wait(30 * 86_400).now)
    second.register(7)
    second.see(7, "COMPLETED", delivered=1)
    second.seal()
    first.everything += second.everything
    problems, summary = _audit(_documents(first))
    assert problems == []
    assert summary.groups == 2


def test_arbitrary_members_are_survived() -> None:
    """Whatever stands in whatever place, there is an answer and no exception."""
    values: list[object] = [None, True, 7, "x", [], {"a": []}]
    clean = json.dumps(_documents(_scene()))
    for value in values:
        for place in ("", "data", "data.operations", "data.stats"):
            end = _of_group(json.loads(clean))[-1]
            found: Document = end
            for step in filter(None, place.split(".")):
                found = found[step]
            for name in list(found):
                documents = json.loads(clean)
                set_to(f"{place}.{name}" if place else name, value)(_of_group(documents)[-1])
                _audit(documents, ended=True)
