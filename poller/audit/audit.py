"""The audit of files of events against the promises: shape, ids, order, gaps, deltas, ends. Pure.

Lines are read once, in order. Memory grows with the number of operations, and by one small entry
for each event, to find duplicates.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from poller.audit.event_reader import AuditedEvent, read_line
from poller.audit.group import MemberSums
from poller.audit.history import AuditFault, History
from poller.text import counted
from poller.tracking.lifecycle import GROUP, EventType
from poller.tracking.registration import GROUP_NAME


class FileLine(NamedTuple):
    """One line of a file, including its line feed if it has one; `number` counts from 1."""

    file: str
    number: int
    text: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditProblem:
    """One broken promise. `subject` is an id or the name of a group, None if it is unreadable."""

    file: str
    line: int
    fault: AuditFault
    subject: str | None
    what: str

    def __str__(self) -> str:
        if self.subject is None:
            return f"{self.file}:{self.line}: {self.what}"
        thing = "group" if GROUP_NAME.fullmatch(self.subject) else "operation"
        return f"{self.file}:{self.line}: {thing} {self.subject}: {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSummary:
    """The totals. `events` are distinct ones; `late` ones filled a gap that was allowed."""

    events: int
    operations: int
    groups: int
    unfinished: int
    duplicates: int
    late: int
    problems: int

    def __str__(self) -> str:
        groups = f" and {counted(self.groups, 'group')}" if self.groups else ""
        return (
            f"{counted(self.events, 'event')} of {counted(self.operations, 'operation')}{groups} "
            f"({self.unfinished:,} unfinished), {counted(self.duplicates, 'duplicate')}, "
            f"{self.late:,} late, {counted(self.problems, 'problem')}"
        )


@dataclass(slots=True)
class _Audited:
    """One subject; for a group, `end` is the event that completed it."""

    history: History
    file: str
    line: int
    is_group: bool
    end: AuditedEvent | None = None


def number_lines(file: str, lines: Iterable[bytes]) -> Iterator[FileLine]:
    """Name and number the lines of a file that is open in binary mode."""
    return (FileLine(file, number, text) for number, text in enumerate(lines, start=1))


class Audit:
    """One audit. Several files count as one stream, in the order in which they are given.

    `allow_gaps` is for sinks that subscribe to some types only, and for dead letters: then a
    missing event is not a problem, and one that fills a gap later is counted as late. With `ended`
    every operation must have its final event.
    """

    def __init__(self, *, allow_gaps: bool = False, ended: bool = False) -> None:
        self._allow_gaps = allow_gaps
        self._ended = ended
        self._audited: dict[tuple[str, str], _Audited] = {}
        self._members: dict[str, MemberSums] = {}
        self._digests: dict[int, int] = {}
        self._duplicates = 0
        self._problems = 0

    def check(self, lines: Iterable[FileLine]) -> Iterator[AuditProblem]:
        """Read all lines, and yield every problem at the line that shows it."""
        for problem in self._check(lines):
            self._problems += 1
            yield problem

    @property
    def summary(self) -> AuditSummary:
        """The results so far."""
        audited = self._audited.values()
        return AuditSummary(
            events=len(self._digests),
            operations=sum(not one.is_group for one in audited),
            groups=sum(one.is_group for one in audited),
            unfinished=sum(not one.history.has_ended for one in audited),
            duplicates=self._duplicates,
            late=sum(one.history.late for one in audited),
            problems=self._problems,
        )

    def _check(self, lines: Iterable[FileLine]) -> Iterator[AuditProblem]:
        for line in lines:
            yield from self._read(line)
        yield from self._wrong_sums()
        if self._ended:
            yield from self._unfinished()

    def _read(self, line: FileLine) -> Iterator[AuditProblem]:
        if not line.text.endswith(b"\n"):
            yield _problem(line, AuditFault.TORN, "the last line is incomplete")
            return
        reading = read_line(line.text)
        event, subject = reading.event, reading.subject
        if reading.unreadable:
            yield _problem(line, AuditFault.UNREADABLE, reading.unreadable)
        if event is not None and self._digests.get(hash(event.id)) == event.digest:
            # delivery is at least once; problems of the event were reported the first time
            self._duplicates += 1
            return
        for what in reading.misshapen:
            yield _problem(line, AuditFault.SHAPE, what, subject)
        for what in reading.contradictions:
            yield _problem(line, AuditFault.CONTRADICTION, what, subject)
        if event is not None:
            for fault, what in self._place(event, line):
                yield _problem(line, fault, what, subject)

    def _place(self, event: AuditedEvent, line: FileLine) -> Iterator[tuple[AuditFault, str]]:
        if self._digests.setdefault(hash(event.id), event.digest) != event.digest:
            yield AuditFault.IDENTITY, f"id {event.id} appeared before with other content"
            return
        key = (event.scope, event.subject)
        audited = self._audited.get(key)
        if audited is None:
            history = History(allow_gaps=self._allow_gaps)
            is_group = event.type.startswith(f"{GROUP}.")
            audited = _Audited(history, line.file, line.number, is_group)
            self._audited[key] = audited
        audited.file, audited.line = line.file, line.number
        if event.type == EventType.GROUP_COMPLETED:
            audited.end = audited.end or event
        self._count_member(event)
        yield from audited.history.add(event)

    def _count_member(self, event: AuditedEvent) -> None:
        content = event.content
        if content is None or content.member_of is None or event.type.endswith(".breakdown"):
            return
        sums = self._members.setdefault(content.member_of, MemberSums())
        sums.add(event.subject, content.counters, final=event.final)

    def _wrong_sums(self) -> Iterator[AuditProblem]:
        """Compare each group that has ended with its members, if the events of all are present."""
        names = Counter(subject for (_, subject), one in self._audited.items() if one.is_group)
        for (_, name), audited in self._audited.items():
            content = None if audited.end is None else audited.end.content
            # a name that was used twice, or by two accounts, leaves open which group a member is in
            if content is None or content.group is None or names[name] > 1:
                continue
            members = self._members.get(name, MemberSums())
            for what in members.faults(content.group.members["total"], content.counters or {}):
                yield AuditProblem(
                    file=audited.file,
                    line=audited.line,
                    fault=AuditFault.SUMS,
                    subject=name,
                    what=what,
                )

    def _unfinished(self) -> Iterator[AuditProblem]:
        for (_, subject), audited in self._audited.items():
            if not audited.history.has_ended:
                yield AuditProblem(
                    file=audited.file,
                    line=audited.line,
                    fault=AuditFault.UNFINISHED,
                    subject=subject,
                    what=f"no final event after sequence {audited.history.last}",
                )


def _problem(
    line: FileLine, fault: AuditFault, what: str, subject: str | None = None
) -> AuditProblem:
    return AuditProblem(file=line.file, line=line.number, fault=fault, subject=subject, what=what)
