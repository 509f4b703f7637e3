"""A file of events held against the promises: one golden problem of each kind."""

import json
from collections.abc import Callable, Sequence

import pytest

from poller.audit.audit import Audit, AuditProblem, AuditSummary, number_lines
from poller.audit.history import AuditFault
from poller.text import dump_json
from poller.tracking.event import event_id
from poller.tracking.pacing import Policy
from tests.audit.files import Change, Document, set_to
from tests.tracking.story import ID, START, Story

POLICY = Policy(progress_interval=0, settle=60, not_found_grace=0)


def _render(story: Story, seed: int = 0) -> list[Document]:
    return [
        json.loads(event.render(event_id(START, seed + number)))
        for number, event in enumerate(story.events)
    ]


def _settled() -> list[Document]:
    """Return scheduled, processing, progress, completed, progress, settled."""
    story = Story(POLICY)
    story.see("SCHEDULED", total=9, scheduled=9)
    story.see("PROCESSING", total=9, queued=9)
    story.see("PROCESSING", total=9, queued=5, sent=4)
    story.see("COMPLETED", total=9, sent=4, delivered=5)
    story.see("COMPLETED", total=9, sent=1, delivered=8)
    story.see("COMPLETED", total=9, delivered=9)
    return _render(story)


def _lost_and_found() -> list[Document]:
    """Return processing, lost, progress, changed, canceled."""
    story = Story(POLICY)
    story.see("PROCESSING", queued=3)
    for _ in range(3):
        story.not_found()
    story.register()
    story.see("PROCESSING", queued=2)
    story.see("ODD", queued=2)
    story.see("CANCELED", canceled=3)
    return _render(story)


def _text(documents: Sequence[Document]) -> list[bytes]:
    return [dump_json(document).encode() + b"\n" for document in documents]


def _audit(lines: Sequence[bytes], **options: bool) -> tuple[list[AuditProblem], AuditSummary]:
    audit = Audit(**options)
    problems = list(audit.check(number_lines("events", lines)))
    return problems, audit.summary


def _problems(documents: Sequence[Document], **options: bool) -> list[tuple[int, AuditFault, str]]:
    found, summary = _audit(_text(documents), **options)
    assert summary.problems == len(found)
    return [(problem.line, problem.fault, problem.what) for problem in found]


@pytest.mark.parametrize("make", [_settled, _lost_and_found])
def test_a_whole_history_is_clean(make: Callable[[], list[Document]]) -> None:
    """Nothing to say, and it has ended."""
    documents = make()
    problems, summary = _audit(_text(documents), ended=True)
    assert problems == []
    assert summary == AuditSummary(
        events=len(documents),
        operations=1,
        groups=0,
        unfinished=0,
        duplicates=0,
        late=0,
        problems=0,
    )


def test_an_empty_file_is_clean() -> None:
    """There is nothing in it that breaks a promise; the summary says so."""
    problems, summary = _audit([], ended=True)
    assert problems == []
    assert (
        str(summary) == "0 events of 0 operations (0 unfinished), 0 duplicates, 0 late, 0 problems"
    )


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b"\n", "not JSON"),
        (b"{}{}\n", "not JSON"),
        (b'{"id": "1",\n', "not JSON"),
        (b'{"x": NaN}\n', "not JSON"),
        (b'{"x": -Infinity}\n', "not JSON"),
        (b"\xef\xbb\xbf{}\n", "not JSON"),
        (b"[" * 100_000 + b"\n", "not JSON"),
        (b'{"x": ' + b"9" * 5000 + b"}\n", "not JSON"),
        (b'{"x": "\xff"}\n', "not UTF-8"),
        (b"[]\n", "not a JSON object"),
        (b"null\n", "not a JSON object"),
    ],
)
def test_a_line_that_cannot_be_read(line: bytes, what: str) -> None:
    """It is reported, and the next line is read as if nothing were."""
    documents = _settled()
    problems, summary = _audit([line, *_text(documents)])
    assert [(one.line, one.fault, one.what) for one in problems] == [
        (1, AuditFault.UNREADABLE, what)
    ]
    assert summary.events == len(documents)


def test_a_torn_last_line() -> None:
    """What has no end is no event, even if it would be one."""
    lines = _text(_settled())
    for torn in (lines[-1][:40], lines[-1].rstrip(b"\n")):
        problems, summary = _audit([*lines[:-1], torn])
        assert [str(problem) for problem in problems] == ["events:6: the last line is incomplete"]
        assert (summary.events, summary.unfinished) == (5, 1)


def test_how_a_problem_reads() -> None:
    """File, line, operation, and what is wrong."""
    documents = _settled()
    del documents[2]
    ((problem,), _) = _audit(_text(documents))
    assert str(problem) == f"events:3: operation {ID}: sequence 3 is missing before 4"


@pytest.mark.parametrize(
    ("path", "value", "what"),
    [
        ("specversion", "0.3", 'specversion is "0.3", not "1.0"'),
        ("time", "noon", 'time is "noon", not an RFC 3339 instant'),
        ("time", None, "time is null, not an RFC 3339 instant"),
        ("datacontenttype", "x", 'datacontenttype is "x", not "application/json"'),
        ("partitionkey", "x", 'partitionkey is "x", not the subject'),
        ("data", [], "data is a list, not an object"),
        ("data.kind", 1, "data.kind is 1, not text"),
        ("data.delta", {"sent": 0}, "data.delta is an object, not an object of integers other"),
        ("data.delta", {"sent": True}, "data.delta is an object, not an object of integers"),
        ("data.observedAt", "", 'data.observedAt is "", not an RFC 3339 instant or null'),
        ("data.final", None, "data.final is null, not true or false"),
        ("data.labels", {"a": 1}, "data.labels is an object, not an object of texts"),
        ("data.reason", 5, "data.reason is 5, not text or null"),
        ("data.previousStatus", 5, "data.previousStatus is 5, not text or null"),
        ("data.operation", None, "data.operation is null, not an object"),
        ("data.operation.id", "x", 'data.operation.id is "x", not the subject'),
        ("data.operation.status", "\x1b[2J", 'data.operation.status is "\\u001b[2J", not text'),
        ("data.operation.stats", None, "data.operation.stats is null, not an object"),
    ],
)
def test_a_misshapen_event(path: str, value: object, what: str) -> None:
    """It is one problem: the event keeps its place, and nothing that follows is blamed."""
    documents = _settled()
    set_to(path, value)(documents[2])
    ((line, fault, found),) = _problems(documents, ended=True)
    assert (line, fault) == (3, AuditFault.SHAPE)
    assert found.startswith(what)


@pytest.mark.parametrize(
    ("path", "value", "what"),
    [
        ("id", "a.b", 'id is "a.b", not text without a dot'),
        ("id", "", 'id is "", not text without a dot'),
        ("source", "", 'source is "", not text'),
        ("type", "poller.test", 'type is "poller.test", not a type of event'),
        ("subject", 7, "subject is 7, not an id"),
        ("sequence", 3, "sequence is 3, not text of ten digits or more, from 1"),
        ("sequence", "0000000000", 'sequence is "0000000000", not text of ten digits or more'),
        ("sequence", "3", 'sequence is "3", not text of ten digits or more'),
        ("sequence", "٠٠٠٠٠٠٠٠٠٣", "sequence is "),
        ("sequence", "9" * 5000, "sequence is "),
    ],
)
def test_an_event_without_identity(path: str, value: object, what: str) -> None:
    """It cannot be put in its place, so that it is missing there."""
    documents = _settled()
    set_to(path, value)(documents[2])
    misshapen, gap = _problems(documents, ended=True)
    assert misshapen[:2] == (3, AuditFault.SHAPE)
    assert misshapen[2].startswith(what)
    assert gap == (4, AuditFault.GAP, "sequence 3 is missing before 4")


def test_a_missing_member_is_named() -> None:
    """As missing, not as null."""
    documents = _settled()
    del documents[0]["data"]["labels"]
    assert _problems(documents) == [
        (1, AuditFault.SHAPE, "data.labels is missing, not an object of texts")
    ]


@pytest.mark.parametrize("source", ["https://x/v1/Emails/Operations/" + ID, "https://x/v1/" + ID])
def test_a_source_that_is_not_the_operations(source: str) -> None:
    """It ends with the path of the kind and the id."""
    documents = _settled()
    for document in documents:
        document["source"] = source
    found = _problems(documents)
    assert {fault for _, fault, _ in found} == {AuditFault.SHAPE}
    assert found[0][2].endswith(f"does not end with /Messages/Operations/{ID}")


@pytest.mark.parametrize(
    ("index", "path", "value", "what"),
    [
        (0, "data.final", True, "operation.scheduled with data.final true"),
        (4, "data.final", True, "operation.progress with data.final true"),
        (5, "data.final", False, "operation.settled with data.final false"),
        (3, "data.reason", "expired", 'operation.completed with data.reason "expired"'),
        (1, "type", "operation.scheduled", "operation.scheduled from status SCHEDULED to PROC"),
        (1, "type", "operation.progress", "operation.progress from status SCHEDULED to PROCESS"),
        (1, "type", "operation.changed", "operation.changed from status SCHEDULED to PROCESSIN"),
        (2, "type", "operation.processing", "operation.processing from status PROCESSING to PRO"),
    ],
)
def test_an_event_that_contradicts_itself(index: int, path: str, value: object, what: str) -> None:
    """Type, statuses, final and reason agree."""
    documents = _settled()
    set_to(path, value)(documents[index])
    ((line, fault, found),) = _problems(documents, ended=True)
    assert (line, fault) == (index + 1, AuditFault.CONTRADICTION)
    assert found.startswith(what)


@pytest.mark.parametrize(
    ("path", "value", "what"),
    [
        ("data.final", False, "operation.lost with data.final false"),
        ("data.reason", None, "operation.lost with data.reason null"),
    ],
)
def test_a_loss_that_contradicts_itself(path: str, value: object, what: str) -> None:
    """It is final and says why."""
    documents = _lost_and_found()
    set_to(path, value)(documents[1])
    assert _problems(documents) == [(2, AuditFault.CONTRADICTION, what)]


def test_progress_without_a_delta() -> None:
    """Nothing changed makes no event."""
    documents = _settled()
    repeated = json.loads(json.dumps(documents[2]))
    repeated |= {"id": "another", "sequence": "0000000004"}
    repeated["data"]["delta"] = {}
    assert _problems([*documents[:3], repeated]) == [
        (4, AuditFault.CONTRADICTION, "operation.progress without data.delta")
    ]


def test_a_delta_without_a_snapshot() -> None:
    """Where nothing was ever seen nothing changed."""
    story = Story(POLICY)
    for _ in range(3):
        story.not_found()
    documents = _render(story)
    assert _problems(documents, ended=True) == []
    documents[0]["data"]["delta"] = {"queued": 1}
    assert _problems(documents) == [
        (1, AuditFault.CONTRADICTION, "data.delta without data.operation.stats")
    ]


def test_duplicates_are_counted_and_are_no_problem() -> None:
    """Delivery is at least once; a repeated event may come late, and written otherwise."""
    documents = _settled()
    again = [documents[0], documents[3], dict(reversed(documents[0].items()))]
    problems, summary = _audit(_text([*documents, *again]), ended=True)
    assert problems == []
    assert (summary.events, summary.duplicates) == (6, 3)


def test_a_fault_of_a_duplicate_is_reported_once() -> None:
    """It is the same event."""
    documents = _settled()
    documents[2]["time"] = None
    assert len(_problems([*documents, documents[2]])) == 1


def test_one_id_for_two_events() -> None:
    """Receivers would take the second for a duplicate and lose it."""
    documents = _settled()
    documents[1]["id"] = documents[0]["id"]
    assert _problems(documents) == [
        (2, AuditFault.IDENTITY, f"id {documents[0]['id']} appeared before with other content"),
        (3, AuditFault.GAP, "sequence 2 is missing before 3"),
    ]


def _move(index: int, to: int) -> Change:
    return lambda documents: documents.insert(to, documents.pop(index))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda all_: all_.pop(0), [(1, AuditFault.GAP, "sequence 1 is missing before 2")]),
        (
            lambda all_: (all_.pop(1), all_.pop(1)),
            [(2, AuditFault.GAP, "sequence 2 to 3 are missing before 4")],
        ),
        (
            _move(1, 2),
            [
                (2, AuditFault.GAP, "sequence 2 is missing before 3"),
                (3, AuditFault.ORDER, "sequence 2 comes after 3"),
            ],
        ),
        (
            _move(2, 5),
            [
                (3, AuditFault.GAP, "sequence 3 is missing before 4"),
                (6, AuditFault.ORDER, "sequence 3 comes after 6"),
            ],
        ),
        (
            lambda all_: all_.append(all_[2] | {"id": "another"}),
            [(7, AuditFault.REPEATED, "sequence 3 appeared before with another id")],
        ),
        (
            lambda all_: all_.insert(3, all_[2] | {"id": "another"}),
            [(4, AuditFault.REPEATED, "sequence 3 appeared before with another id")],
        ),
    ],
)
def test_gaps_order_and_repetition(
    change: Change, expected: list[tuple[int, AuditFault, str]]
) -> None:
    """Each is reported where it shows, and the rest is still checked."""
    documents = _settled()
    change(documents)
    assert _problems(documents) == expected


def test_gaps_may_be_allowed() -> None:
    """A sink that wants some types only; sums and chains are checked where they can be."""
    documents = _settled()
    del documents[1:3]
    problems, summary = _audit(_text(documents), allow_gaps=True, ended=True)
    assert (problems, summary.late) == ([], 0)
    documents[-1]["data"]["delta"]["sent"] = -2
    ((line, fault, _),) = _problems(documents, allow_gaps=True)
    assert (line, fault) == (4, AuditFault.COUNTERS)


def test_replayed_dead_letters_are_counted_where_gaps_are_allowed() -> None:
    """They fill the gap that they left, the end included."""
    documents = _settled()
    documents = [documents[0], *documents[3:5], documents[2], documents[1], documents[5]]
    problems, summary = _audit(_text(documents), allow_gaps=True, ended=True)
    assert (problems, summary.late) == ([], 2)
    documents = [*documents[:-1], documents[-1], documents[1] | {"id": "another"}]
    assert [fault for _, fault, _ in _problems(documents, allow_gaps=True)] == [AuditFault.REPEATED]


def test_an_end_that_was_a_dead_letter_ends_the_operation() -> None:
    """It comes after the breakdown, which comes after it."""
    documents = _settled()
    breakdown = _breakdown(documents)
    late = [*documents[:-1], breakdown, documents[-1]]
    problems, summary = _audit(_text(late), allow_gaps=True, ended=True)
    assert (problems, summary.late) == ([], 1)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"sent": 3}, "'sent' was 0, delta +3, is 4"),
        ({"sent": 4, "read": 1}, "'read' was 0, delta +1, is 0"),
        ({}, "'queued' was 9, delta +0, is 5; 'sent' was 0, delta +0, is 4"),
    ],
)
def test_deltas_that_do_not_add_up(change: dict[str, int], what: str) -> None:
    """Each wrong counter is shown with its sum; one wrong number is one problem."""
    documents = _settled()
    documents[2]["data"]["delta"] = {"queued": -4, **change} if change else {"total": 1}
    ((line, fault, found),) = _problems(documents)
    assert (line, fault) == (3, AuditFault.COUNTERS)
    assert found.startswith("deltas do not add up: ")
    assert what in found


def test_what_counts_is_an_integer_from_0() -> None:
    """Anything else under stats is carried and not counted."""
    story = Story(POLICY)
    story.see(
        "PROCESSING", queued=1, note="x", rate=1.5, flag=True, debt=-1, huge=10**12 + 1, x=None
    )
    assert _problems(_render(story)) == []


def test_a_broken_chain_of_statuses() -> None:
    """Each event has the values of the one before it."""
    documents = _lost_and_found()
    documents[3]["data"]["previousStatus"] = "SCHEDULED"
    assert _problems(documents) == [
        (
            4,
            AuditFault.STATUS,
            "data.previousStatus is SCHEDULED, but the previous event has PROCESSING",
        )
    ]


def _breakdown(documents: Sequence[Document]) -> Document:
    last = documents[-1]
    return last | {
        "id": "breakdown",
        "type": "operation.breakdown",
        "sequence": f"{int(last['sequence']) + 1:010d}",
        "data": last["data"]
        | {"previousStatus": last["data"]["operation"]["status"], "delta": {}}
        | {"breakdown": {"errors": []}, "final": False, "reason": None},
    }


def test_the_breakdown_follows_the_end() -> None:
    """And nothing else does."""
    documents = _settled()
    breakdown = _breakdown(documents)
    assert _problems([*documents, breakdown], ended=True) == []
    progress = documents[4] | {"id": "more", "sequence": "0000000008"}
    found = _problems([*documents, breakdown, progress])
    assert found[0] == (8, AuditFault.END, "operation.progress after the final event")


@pytest.mark.parametrize("second", ["completed", "canceled"])
def test_a_second_terminal_event(second: str) -> None:
    """An operation ends once."""
    documents = _settled()
    again = json.loads(json.dumps(documents[3]))
    again |= {"id": "again", "sequence": "0000000005", "type": f"operation.{second}"}
    again["data"]["operation"]["status"] = second.upper()
    again["data"]["final"] = second == "canceled"
    faults = [fault for _, fault, _ in _problems([*documents[:4], again])]
    assert AuditFault.END in faults
    again["sequence"] = "0000000007"
    faults = [fault for _, fault, _ in _problems([*documents, again])]
    assert AuditFault.END in faults


def test_unfinished_operations_are_counted_and_a_problem_only_on_demand() -> None:
    """A running operation has no final event yet."""
    documents = _settled()[:-1]
    problems, summary = _audit(_text(documents))
    assert (problems, summary.unfinished) == ([], 1)
    assert _problems(documents, ended=True) == [
        (5, AuditFault.UNFINISHED, "no final event after sequence 5")
    ]


def test_a_lost_operation_that_is_watched_again_is_unfinished() -> None:
    """The second watch owes a final event of its own."""
    documents = _lost_and_found()
    assert _problems(documents[:2], ended=True) == []
    assert [fault for _, fault, _ in _problems(documents[:3], ended=True)] == [
        AuditFault.UNFINISHED
    ]


def test_operations_are_distinguished() -> None:
    """By base URL and id; the sequence continues under a corrected kind."""
    ours = _settled()
    theirs = [
        document
        | {"id": f"x{number}", "source": document["source"].replace("comms.twilio.com", "other")}
        for number, document in enumerate(ours)
    ]
    mixed = [document for pair in zip(ours, theirs, strict=True) for document in pair]
    problems, summary = _audit(_text(mixed), ended=True)
    assert (problems, summary.operations, summary.events) == ([], 2, 12)
    story = Story(POLICY, kind="emails")
    for _ in range(3):
        story.not_found()
    story.register(kind="messages")
    story.see("CANCELED", canceled=1)
    problems, summary = _audit(_text(_render(story)), ended=True)
    assert (problems, summary.operations) == ([], 1)


def test_several_files_are_one_stream() -> None:
    """Rotated files are given in their order; lines are counted in each."""
    lines = _text(_settled())
    audit = Audit(ended=True)
    files = [*number_lines("events.1", lines[:3]), *number_lines("events", lines[4:])]
    (problem,) = audit.check(files)
    assert (problem.file, problem.line, problem.fault) == ("events", 1, AuditFault.GAP)


def test_later_types_are_carried() -> None:
    """Order, gaps and ends are checked whatever the data of a type that came later."""
    documents = _settled()[:2]
    base = documents[-1]
    for number, name in enumerate(("operation.paused", "message.bounced", "message.gone"), 3):
        documents.append(
            base
            | {"id": f"n{number}", "type": name, "sequence": f"{number:010d}"}
            | {"data": {"anything": 1, "final": number == 5}}
        )
    problems, summary = _audit(_text(documents), ended=True)
    assert (problems, summary.unfinished) == ([], 0)
    documents.append(documents[2] | {"id": "n6", "sequence": "0000000006"})
    assert _problems(documents)[0][1] is AuditFault.END
