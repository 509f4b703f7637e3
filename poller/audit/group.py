"""The checks of groups: each event by itself, and their sums against the members. Pure.

No event reports that a member was forgotten, or that it had ended before it joined. So the sums are
compared only if the events of exactly `total` members are present.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from poller.audit.shape import (
    Check,
    faults,
    found,
    is_counter,
    is_delta,
    is_instant,
    is_object,
    is_object_of_texts,
    or_null,
    show,
)
from poller.tracking.lifecycle import EventType

_SHOWN: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupContent:
    """The members in an event of a group; `sealed_at` is None while members may join."""

    members: Mapping[str, int]
    sealed_at: str | None


def group_faults(data: Mapping[str, Any], subject: str) -> Iterator[str]:
    """Yield the faults in the shape of the `data` of an event of a group."""
    yield from (f"data.{fault}" for fault in faults(data, _DATA))
    if data.get("group") != subject:
        yield f"data.group is {found(data, 'group')}, not the subject"
    members = data.get("operations")
    if isinstance(members, dict):
        yield from (f"data.operations.{fault}" for fault in faults(members, _MEMBERS))


def read_group(data: Mapping[str, Any]) -> GroupContent:
    """Read data whose shape was checked."""
    members = data["operations"]
    return GroupContent(
        members={name: members[name] for name in _MEMBERS}, sealed_at=data["sealedAt"]
    )


def group_contradictions(event_type: EventType, data: Mapping[str, Any]) -> Iterator[str]:
    """Yield the members of one event of a group that contradict each other."""
    group = read_group(data)
    is_end = event_type is EventType.GROUP_COMPLETED
    if data["final"] is not is_end:
        yield f"{event_type} with data.final {show(data['final'])}"
    total = sum(number for name, number in group.members.items() if name != "total")
    if group.members["total"] != total:
        yield f"data.operations.total is {group.members['total']}, but the others sum to {total}"
    if is_end or event_type is EventType.GROUP_BREAKDOWN:
        if group.sealed_at is None:
            yield f"{event_type} of a group that is not sealed"
        if group.members["watching"]:
            yield f"{event_type} while members are watched: {group.members['watching']}"
        if not group.members["total"]:
            yield f"{event_type} of a group without members"
    if event_type is EventType.GROUP_BREAKDOWN and data["delta"]:
        yield f"{event_type} with data.delta"


def seal_faults(before: GroupContent, after: GroupContent) -> Iterator[str]:
    """Yield contradictions between an event and the seal in the previous event."""
    if before.sealed_at is None:
        return
    if after.sealed_at != before.sealed_at:
        yield f"data.sealedAt is {after.sealed_at}, but the previous event has {before.sealed_at}"
    if after.members["total"] > before.members["total"]:
        yield (
            f"data.operations.total is {after.members['total']}, "
            f"but the group was sealed with {before.members['total']}"
        )


@dataclass(slots=True)
class MemberSums:
    """The last counters in the events of members of one group name that have ended."""

    ends: dict[str, Mapping[str, int] | None] = field(default_factory=dict)
    """By member; None if it cannot be compared."""

    def add(self, subject: str, counters: Mapping[str, int] | None, *, final: bool) -> None:
        """Add an event of a member, other than a breakdown; `counters` is None without any."""
        if subject in self.ends:
            # it was lost and watched again: its events do not show which end the group counts
            self.ends[subject] = None
        elif final:
            self.ends[subject] = counters or {}

    def faults(self, total: int, sums: Mapping[str, int]) -> Iterator[str]:
        """Yield how the sums of a group with `total` members differ from the members' counters."""
        ends = [counters for counters in self.ends.values() if counters is not None]
        if len(ends) != len(self.ends) or len(ends) != total:
            return
        expected: Counter[str] = Counter()
        for counters in ends:
            expected.update(counters)
        names = sorted(name for name in {*expected, *sums} if expected[name] != sums.get(name, 0))
        if names:
            wrong = [
                f"{name!a} is {sums.get(name, 0)}, the members have {expected[name]}"
                for name in names[:_SHOWN]
            ]
            yield f"sums differ from those of the members: {'; '.join(wrong)}"


_MEMBERS: Final[Mapping[str, Check]] = dict.fromkeys(
    ("total", "completed", "canceled", "lost", "watching"), (is_counter, "an integer from 0")
)
_DATA: Final[Mapping[str, Check]] = {
    "operations": (is_object, "an object"),
    "stats": (
        lambda value: isinstance(value, dict) and all(map(is_counter, value.values())),
        "an object of integers from 0",
    ),
    "delta": (is_delta, "an object of integers other than 0"),
    "sealedAt": (or_null(is_instant), "an RFC 3339 instant or null"),
    "labels": (is_object_of_texts, "an object of texts"),
    "final": (lambda value: isinstance(value, bool), "true or false"),
}
