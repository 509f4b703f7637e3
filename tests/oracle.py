"""The judge of event histories: what a sink received, judged without any code of the poller.

The poller audits histories itself (`poller verify`); this oracle knows nothing of that.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["AlertRule", "Judgement", "check_promises", "judge"]

Event = dict[str, Any]
# where the counters are exclusive, as those of the tests' APIs are
_FINISHED = ("delivered", "read", "undelivered", "unaddressable", "failed", "canceled")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRule:
    """An alert rule as the settings have it; `stalled` in seconds."""

    name: str
    of: str = "operation"
    counters: Sequence[str] = ()
    ratio: float | None = None
    count: int | None = None
    at_least: int = 0
    stalled: float | None = None

    def is_reached(self, counters: Mapping[str, int]) -> bool:
        """Return whether these counters have reached a threshold."""
        number = sum(counters.get(name, 0) for name in self.counters)
        finished = sum(counters.get(name, 0) for name in _FINISHED)
        if not number or finished < self.at_least:
            return False
        is_many = self.count is not None and number >= self.count
        return is_many or (self.ratio is not None and number / finished >= self.ratio)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What was found. `events` are the first arrivals, by id; problems are sentences."""

    events: Mapping[str, Event]
    duplicates: int
    problems: Sequence[str]


def judge(
    arrivals: Sequence[Event],
    *,
    ends: Mapping[str, Event] | None = None,
    groups: Mapping[str, Collection[str]] | None = None,
    alerts: Sequence[AlertRule] | None = None,
    ended: bool = True,
    watched_again: bool = False,
) -> Judgement:
    """Judge the arrivals at one sink, in order; a repetition is no problem where it is the same.

    With `ended`, the history of every subject must be complete. `ends` is each operation's true
    last snapshot: these operations and no others must be there, and end so. `groups` names the
    members of each group: it must have ended once, after them and with their numbers. `alerts` are
    the rules of a daemon that emits every change at once: each must have fired once where, and as
    soon as, a history reaches its threshold.
    `watched_again` says that a lost operation may have been registered again: then its story goes
    on after its end.
    """
    first: dict[str, Event] = {}
    problems = [
        f"{event['id']}: repeated with another content"
        for event in arrivals
        if first.setdefault(event["id"], event) != event
    ]
    histories: dict[str, list[Event]] = defaultdict(list)
    for event in first.values():
        histories[event["subject"]].append(event)
    for name, events in sorted(histories.items()):
        last = _since_lost(events) if watched_again else events
        faults = [*_wrong_order(events), *_wrong_deltas(events), *_wrong_finals(last, ended)]
        if alerts is not None:
            faults += _wrong_alerts(events, alerts)
        problems += [f"{name}: {fault}" for fault in faults]
    groups = groups or {}
    for name, members in sorted(groups.items()):
        faults = _wrong_group(histories.get(name, []), [histories.get(one, []) for one in members])
        problems += [f"{name}: {fault}" for fault in faults]
    if ends is not None:
        alone = {name: events for name, events in histories.items() if name not in groups}
        problems += _wrong_ends(alone, ends)
    return Judgement(events=first, duplicates=len(arrivals) - len(first), problems=problems)


def check_promises(events: Sequence[Event]) -> None:
    """Assert that these are complete histories in which nothing is repeated."""
    found = judge(events)
    assert not found.problems, found.problems
    assert found.duplicates == 0


def _wrong_order(events: Sequence[Event]) -> list[str]:
    """Look for sequences that do not count from 1."""
    numbers = [int(event["sequence"]) for event in events]
    if numbers == list(range(1, len(events) + 1)):
        return []
    return [f"out of order or with a gap: {numbers}"]


def _wrong_deltas(events: Sequence[Event]) -> list[str]:
    """Look for an event up to which the deltas are not the counters of its snapshot."""
    problems = []
    total: Counter[str] = Counter()
    for event in events:
        total.update(event["data"]["delta"])
        emitted = {name: count for name, count in total.items() if count}
        counters = _counters(event)
        if counters is None:
            if event["data"]["delta"]:
                problems.append(f"{event['sequence']} has a delta and no counters")
        elif emitted != counters:
            problems.append(f"deltas up to {event['sequence']} are {emitted}, not {counters}")
    return problems


def _counters(event: Event) -> dict[str, int] | None:
    """Read the counters of a snapshot that are not zero; None where it has none."""
    data = event["data"]
    # a group has its sums beside, and no snapshot
    shown = data.get("operation") or data.get("message") or (data if "group" in data else {})
    stats = shown.get("stats")
    if stats is None:
        return None
    return {name: count for name, count in stats.items() if type(count) is int and count > 0}


def _since_lost(events: Sequence[Event]) -> Sequence[Event]:
    """Leave out what came up to the last loss that something followed."""
    lost = [number for number, event in enumerate(events[:-1]) if event["type"].endswith(".lost")]
    return events[lost[-1] + 1 :] if lost else events


def _wrong_finals(events: Sequence[Event], ended: bool) -> list[str]:  # noqa: FBT001 - as in `judge`
    """Look for a final event too many or too few, and for what may not follow it."""
    finals = [index for index, event in enumerate(events) if event["data"]["final"]]
    if not finals:
        return ["no final event"] if ended else []
    if len(finals) > 1:
        return [f"{len(finals)} final events"]
    after = [event["type"] for event in events[finals[0] + 1 :]]
    allowed = [[], ["operation.breakdown"], ["group.breakdown"]]
    return [] if after in allowed else [f"after its end came {after}"]


def _wrong_alerts(events: Sequence[Event], rules: Sequence[AlertRule]) -> list[str]:
    """Look for alerts too many or too few, too early or too late."""
    subject = events[0]["type"].partition(".")[0]
    fired = [event for event in events if event["type"].endswith(".alert")]
    known = {rule.name for rule in rules if rule.of == subject}
    others = {event["data"]["alert"]["name"] for event in fired} - known
    problems = [f"alert {name} is not one of its rules" for name in sorted(others)]
    for rule in rules:
        if rule.of != subject:
            continue
        own = [event for event in fired if event["data"]["alert"]["name"] == rule.name]
        if rule.stalled is None:
            problems += _wrong_threshold(events, own, rule)
            continue
        if len(own) > 1:
            problems.append(f"alert {rule.name} fired {len(own)} times")
        if any(one["data"]["alert"]["value"] < rule.stalled or one["data"]["delta"] for one in own):
            problems.append(f"alert {rule.name} fired although something moved")
    return problems


def _wrong_threshold(events: Sequence[Event], own: Sequence[Event], rule: AlertRule) -> list[str]:
    """Compare the alerts of a rule with the first event whose counters reach its threshold.

    Only alerts of other rules, of the same answer, may stand before it.
    """
    reached = [event for event in events if rule.is_reached(_counters(event) or {})]
    if not reached or len(own) != 1:
        return [] if len(reached[:1]) == len(own) else [f"alert {rule.name} fired {len(own)} times"]
    before = reached[: reached.index(own[0])] if own[0] in reached else reached
    are_of_one_answer = all(
        event["type"] == own[0]["type"] and _counters(event) == _counters(own[0])
        for event in before
    )
    return [] if are_of_one_answer else [f"alert {rule.name} fired at another answer"]


def _wrong_group(events: Sequence[Event], members: Sequence[Sequence[Event]]) -> list[str]:
    """Look for a group that did not end once, too early, or with other numbers than its members."""
    completed = [event for event in events if event["type"] == "group.completed"]
    if len(completed) != 1:
        return [f"{len(completed)} times completed"]
    (end,) = completed
    finals = [event for story in members for event in story if event["data"]["final"]]
    problems = []
    outcomes = Counter(event["type"].partition(".")[2] for event in finals)
    counts = {"total": len(members), "watching": 0, "completed": 0, "canceled": 0, "lost": 0}
    if end["data"]["operations"] != counts | outcomes:
        problems.append(f"says {end['data']['operations']}, not {counts | outcomes}")
    sums: Counter[str] = Counter()
    for event in finals:
        sums.update(_counters(event) or {})
    if _counters(end) != sums:
        problems.append(f"its sums are {_counters(end)}, not {dict(sums)}")
    if any(event["time"] > end["time"] for event in finals):
        problems.append("ended before its last member")
    sealed_at = end["data"]["sealedAt"]
    if sealed_at is None or sealed_at > end["time"]:
        problems.append(f"ended at {end['time']}, sealed at {sealed_at}")
    return problems


def _wrong_ends(histories: Mapping[str, list[Event]], ends: Mapping[str, Event]) -> list[str]:
    """Look for operations too many or too few, and for ends that are not the true ones."""
    problems = [f"{name}: never heard of" for name in sorted(ends.keys() - histories.keys())]
    problems += [f"{name}: nobody asked for it" for name in sorted(histories.keys() - ends.keys())]
    for name in sorted(ends.keys() & histories.keys()):
        last, end = histories[name][-1], ends[name]
        if last["type"] != (kind := f"operation.{end['status'].lower()}"):
            problems.append(f"{name}: ends with {last['type']}, not with {kind}")
        elif last["data"]["operation"] != end:
            problems.append(f"{name}: its end tells {last['data']['operation']}, not {end}")
    return problems
