"""The progress of the messages of an operation, read from its counters. Pure.

The vendor counts in two ways. Exclusive: each message counts under the state that it is in.
Cumulative: it counts under each state that it has been in, so `delivered` is part of `sent` and
`opened` part of `delivered`. Exclusive states never sum to more than the number of messages; where
they do, the counters are cumulative. Some operations also lack columns: nothing can wait for a
state that has no column. All of this is handled in this module only.

Errors must be on the safe side. A message that is wrongly read as open costs a poll; one that is
wrongly read as done may cost its receipt. So in doubt a message counts as open:

- Cumulative counters whose sum has not yet passed the total are read as exclusive. Then `sent` is
  all open, which is an upper bound.
- In a cumulative reading a state that counts fewer than a later one is read as exclusive.
- `undelivered` may or may not be part of a cumulative `sent`; it is read as if it were not.
- An unaddressable recipient never has a message, in either way of counting. The vendor does not
  say whether `total` includes it, so it lowers the number of messages only where `recipients`
  proves that.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from poller.comms.kinds import DEFAULT_KIND, KINDS, KindSpec

_UNADDRESSABLE: Final = "unaddressable"
_POOLS: Final = KINDS["sender-pools"]
# a group may hold operations of several kinds: the stages of all kinds that send messages
_SENDING: Final = replace(
    DEFAULT_KIND,
    stages=(*DEFAULT_KIND.stages[:-1], "opened", DEFAULT_KIND.stages[-1]),
    receipts=DEFAULT_KIND.receipts | {"opened"},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How many messages are in which state; each counts once, in whichever way the vendor counts.

    `stages` holds these numbers under the vendor's names, first the states that a message passes
    in their order, then those of messages that were not delivered. `done` of `total` are
    finished; `waiting` have not left the queue; `open` may still change, `waiting` included.
    `reached` are finished and in the last state that the vendor reports, `failed` were stopped by
    an error. `total` is at least `done` + `open`; None where it is unknown.
    `ends_at` names the first state in which a message is finished.
    """

    total: int | None
    stages: Mapping[str, int]
    done: int
    open: int
    waiting: int
    reached: int
    failed: int
    ends_at: str
    is_cumulative: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipients:
    """How many recipients there are, how many of them are done, and how many of these failed.

    `total` is 0 while it is unknown. These sum up over operations, whichever way each counts.
    """

    total: int = 0
    done: int = 0
    failed: int = 0


NO_PROGRESS: Final = Progress(
    total=None,
    stages={},
    done=0,
    open=0,
    waiting=0,
    reached=0,
    failed=0,
    ends_at="delivered",
    is_cumulative=False,
)
"""The progress of something that has no counters of recipients."""


def read_progress(kind: KindSpec, counters: Mapping[str, int]) -> Progress:
    """Read the counters of one snapshot of an operation; unknown ones are ignored."""
    known = counters.get("total") or counters.get("recipients") or None
    messages = None if known is None else _messages(known, counters)
    states = {name: counters.get(name, 0) for name in (*kind.stages, *kind.stopped)}
    of_messages = sum(states.values()) - states.get(_UNADDRESSABLE, 0)
    is_cumulative = messages is not None and of_messages > messages
    if messages is not None and is_cumulative:
        states = _made_exclusive(kind, states, messages)
    last = _last_open(kind, counters)
    ended = sum(states[name] for name in kind.stopped)
    still_open = sum(states[name] for name in kind.stages[:last])
    reached = sum(states[name] for name in kind.stages[last:])
    done = reached + ended
    return Progress(
        total=None if known is None else max(known, done + still_open),
        stages=states,
        done=done,
        open=still_open,
        waiting=sum(states[name] for name in kind.waiting),
        reached=reached,
        failed=sum(states[name] for name in kind.unsuccessful),
        ends_at=kind.stages[last],
        is_cumulative=is_cumulative,
    )


def read_receipts(counters: Mapping[str, int]) -> Progress:
    """Read the receipts of a group message: one state for each recipient.

    These counters are computed here, so a column that is absent is 0.
    """
    return read_progress(DEFAULT_KIND, {**dict.fromkeys(DEFAULT_KIND.receipts, 0), **counters})


def read_group_progress(sums: Mapping[str, int]) -> Progress:
    """Read the sums of the counters of a group's members, perhaps of several kinds."""
    is_of_pools = "created" in sums and sums.keys() <= _POOLS.counters
    return read_progress(_POOLS if is_of_pools else _SENDING, sums)


def _messages(total: int, counters: Mapping[str, int]) -> int:
    """Return the number of messages: `total` without recipients that are surely unaddressable."""
    unaddressable = counters.get(_UNADDRESSABLE, 0)
    are_in_total = "recipients" in counters and total + unaddressable > counters["recipients"]
    return max(0, total - unaddressable) if are_in_total else total


def _made_exclusive(kind: KindSpec, states: Mapping[str, int], messages: int) -> dict[str, int]:
    """Subtract from each state the messages in later ones, beginning with the last state.

    Whether the queue's counters are cumulative too is unknown; the remaining messages bound them.
    """
    exclusive = dict(states)
    left = messages - sum(states[name] for name in kind.stopped if name != _UNADDRESSABLE)
    later = 0
    for name in reversed(kind.stages):
        if name in kind.waiting:
            later = 0
        # a state that counts fewer than a later one cannot include it
        own = states[name] - later if states[name] >= later else states[name]
        exclusive[name] = max(0, min(left, own))
        left -= exclusive[name]
        later = max(later, states[name])
    return exclusive


def _last_open(kind: KindSpec, counters: Mapping[str, int]) -> int:
    """Return the index of the first stage in which a message is finished.

    Without any column for receipts, `sent` is the last state of a message. Without a total the
    snapshot is incomplete, and says nothing about columns.
    """
    is_complete = bool(counters.get("total"))
    are_receipted = bool(kind.receipts) and not (is_complete and kind.receipts.isdisjoint(counters))
    ahead = [place for place, name in enumerate(kind.stages) if name not in kind.receipts]
    return ahead[-1] + 1 if are_receipted else ahead[-1]


def delta_between(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """Subtract counter by counter, signed; unchanged counters are left out."""
    names = [*after, *(name for name in before if name not in after)]
    return {
        name: difference
        for name in names
        if (difference := after.get(name, 0) - before.get(name, 0))
    }
