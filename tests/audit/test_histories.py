"""The audit finds nothing in what tracking makes, and every single change to it."""

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from poller.audit.audit import Audit, AuditProblem, number_lines
from poller.audit.history import AuditFault
from poller.text import dump_json
from tests.tracking.histories import ENDED, EVENTFUL, HISTORIES, History

Documents = list[dict[str, Any]]

DATA = st.data()


def _audit(lines: Sequence[str], **options: bool) -> tuple[list[AuditProblem], Audit]:
    audit = Audit(**options)
    return list(audit.check(number_lines("x", [line.encode() + b"\n" for line in lines]))), audit


def _faults(documents: Documents) -> set[AuditFault]:
    problems, _ = _audit([dump_json(document) for document in documents])
    return {problem.fault for problem in problems}


def _documents(history: History) -> Documents:
    return [json.loads(line) for line in history.lines]


@given(history=HISTORIES)
def test_every_history_is_clean(history: History) -> None:
    """Whatever the API answered, and whatever was forgotten and registered."""
    problems, audit = _audit(history.lines)
    assert problems == []
    assert audit.summary.events == len(history.events)
    assert audit.summary.unfinished == int(bool(history.events) and not history.events[-1].final)


@given(history=HISTORIES, data=DATA)
def test_duplicates_do_not_matter(history: History, data: st.DataObject) -> None:
    """Any event may be delivered again at any later moment."""
    lines = history.lines
    for index in data.draw(st.lists(st.integers(0, max(len(lines) - 1, 0)), max_size=4)):
        if lines:
            later = data.draw(st.integers(index + 1, len(lines)))
            lines.insert(later, lines[index])
    problems, audit = _audit(lines)
    assert problems == []
    assert audit.summary.duplicates == len(lines) - len(history.lines)


@given(history=HISTORIES, data=DATA)
def test_any_part_is_clean_where_gaps_are_allowed(history: History, data: st.DataObject) -> None:
    """What a sink wants is its own affair; a dead letter may come late."""
    lines = history.lines
    kept = data.draw(st.lists(st.sampled_from(lines), unique=True)) if lines else []
    in_order = sorted(kept, key=lines.index)
    problems, audit = _audit(in_order, allow_gaps=True)
    assert (problems, audit.summary.late) == ([], 0)


@given(history=ENDED, data=DATA)
def test_a_dropped_event_is_found(history: History, data: st.DataObject) -> None:
    """Any but the last, whose not_found_streak only the operation's missing end can show."""
    documents = _documents(history)
    documents.pop(data.draw(st.integers(0, len(documents) - 2)))
    assert AuditFault.GAP in _faults(documents)


@given(history=ENDED)
def test_a_dropped_end_is_found_on_demand(history: History) -> None:
    """With `ended` an operation that lacks its final event is a problem."""
    assert _audit(history.lines, ended=True)[0] == []
    problems, _ = _audit(history.lines[:-1], ended=True)
    assert [problem.fault for problem in problems] == [AuditFault.UNFINISHED]


@given(history=ENDED, data=DATA)
def test_two_swapped_events_are_found(history: History, data: st.DataObject) -> None:
    """However far apart."""
    documents = _documents(history)
    places = st.integers(0, len(documents) - 1)
    first, second = sorted(data.draw(st.lists(places, unique=True, min_size=2, max_size=2)))
    documents[first], documents[second] = documents[second], documents[first]
    assert {AuditFault.GAP, AuditFault.ORDER} <= _faults(documents)


@given(history=EVENTFUL, data=DATA)
def test_a_changed_delta_is_found(history: History, data: st.DataObject) -> None:
    """By whatever number, in whatever counter, known or not."""
    documents = _documents(history)
    document = data.draw(st.sampled_from(documents))
    delta = document["data"]["delta"]
    name = data.draw(st.sampled_from([*delta, "total", "other"]))
    changed = delta.get(name, 0) + data.draw(st.integers().filter(bool))
    if changed:
        delta[name] = changed
    else:
        del delta[name]
    assert _faults(documents) & {AuditFault.COUNTERS, AuditFault.CONTRADICTION}


@given(history=EVENTFUL, data=DATA)
def test_a_repeated_sequence_is_found(history: History, data: st.DataObject) -> None:
    """Another id does not make it another event of the operation."""
    documents = _documents(history)
    index = data.draw(st.integers(0, len(documents) - 1))
    place = data.draw(st.integers(index + 1, len(documents)))
    documents.insert(place, documents[index] | {"id": "another"})
    assert AuditFault.REPEATED in _faults(documents)


@given(text=st.binary(max_size=200))
def test_arbitrary_bytes_are_survived(text: bytes) -> None:
    """A file may hold anything."""
    audit = Audit(ended=True)
    assert list(audit.check(number_lines("x", text.splitlines(keepends=True)))) or not text


@given(history=EVENTFUL, data=DATA)
def test_arbitrary_members_are_survived(history: History, data: st.DataObject) -> None:
    """Whatever stands in whatever place, there is an answer and no exception."""
    documents = _documents(history)
    document = data.draw(st.sampled_from(documents))
    place = data.draw(st.sampled_from([document, document["data"], document["data"]["operation"]]))
    name = data.draw(st.sampled_from(sorted(place)))
    place[name] = data.draw(
        st.none() | st.booleans() | st.integers() | st.text() | st.just([]) | st.just({"a": []})
    )
    _faults(documents)
