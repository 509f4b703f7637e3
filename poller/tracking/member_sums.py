"""The sums of a group over its members: members by state, counters, recipients, labels. Pure.

Each function takes a member as it `was`, None before it joins, and as it is, None once it has left.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Final

from poller.tracking.forecast import KEPT, Look
from poller.tracking.progress import Recipients, delta_between
from poller.tracking.watch import Outcome, Phase, Watch

_LOOK_INTERVAL: Final = 5.0
"""Seconds between two looks, from which the rate of a group is computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberCounts:
    """The numbers of members by state; `total` is the sum of the others.

    A message that failed counts as completed, as an operation whose messages failed does: it was
    watched to its end. The counters show the failures.
    """

    total: int = 0
    completed: int = 0
    canceled: int = 0
    lost: int = 0
    watching: int = 0


def count_members(counts: MemberCounts, was: Watch | None, member: Watch | None) -> MemberCounts:
    """Return the counts after a member changed from `was` to `member`, joined or left."""
    before = None if was is None else _state_of(was)
    after = None if member is None else _state_of(member)
    if before == after:
        return counts
    changed = asdict(counts)
    if before is not None:
        changed[before] -= 1
        changed["total"] -= 1
    if after is not None:
        changed[after] += 1
        changed["total"] += 1
    return MemberCounts(**changed)


def _state_of(member: Watch) -> str:
    """Name the count of this member; it is `watching` until its final event is recorded."""
    if member.phase in {Phase.ACTIVE, Phase.SETTLING}:
        return "watching"
    match member.outcome:
        case Outcome.LOST:
            return "lost"
        case Outcome.CANCELED:
            return "canceled"
        case _:
            return "completed"


def sum_recipients(sums: Recipients, was: Watch | None, member: Watch | None) -> Recipients:
    """Return the sums of recipients after a member changed, joined or left."""
    before = Recipients() if was is None else was.recipients
    after = Recipients() if member is None else member.recipients
    return Recipients(
        total=sums.total + after.total - before.total,
        done=sums.done + after.done - before.done,
        failed=sums.failed + after.failed - before.failed,
    )


def add_look(
    looks: tuple[Look, ...],
    was: Watch | None,
    member: Watch | None,
    *,
    before: Recipients,
    after: Recipients,
    now: datetime,
) -> tuple[Look, ...]:
    """Add the sums `after` a change of a member where the last look is old enough.

    Recipients that come with the first answer of a member, or leave with it, are not progress.
    """
    if looks and looks[-1].at > now:
        looks = ()  # the clock went back
    if was is None or was.snapshot is None or member is None:
        by = after.done - before.done
        looks = tuple(replace(look, done=look.done + by) for look in looks) if by else looks
    if not looks or (now - looks[-1].at).total_seconds() >= _LOOK_INTERVAL:
        looks = (*looks, look_at_sums(after, at=now))[-KEPT:]
    return looks


def look_at_sums(recipients: Recipients, *, at: datetime) -> Look:
    """Return these sums as a look."""
    return Look(at=at, done=recipients.done, passed=recipients.done, total=recipients.total)


def sum_counters(
    stats: Mapping[str, int], was: Watch | None, member: Watch | None
) -> Mapping[str, int]:
    """Return the sums of counters after a member changed, joined or left."""
    before = {} if was is None else was.known_counters
    after = {} if member is None else member.known_counters
    sums = {**stats}
    # a counter that a member has is in the sums even while it is 0
    for name in after:
        sums.setdefault(name, 0)
    for name, by in delta_between(before, after).items():
        sums[name] = sums.get(name, 0) + by
    return sums


def share_labels(labels: Iterable[Mapping[str, str]]) -> Mapping[str, str]:
    """Return the labels that all of these share."""
    shared: Mapping[str, str] | None = None
    for one in labels:
        shared = one if shared is None else common_labels(shared, one)
    return dict(shared or {})


def common_labels(some: Mapping[str, str], others: Mapping[str, str]) -> dict[str, str]:
    """Return the labels that both have, with the same value."""
    return {name: value for name, value in some.items() if others.get(name) == value}
