"""Whether what a sink received keeps the promises, judged without any code of the poller."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Audit", "audit"]

Event = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What was found. `events` are the first arrivals, by id; problems are sentences."""

    events: Mapping[str, Event]
    duplicates: int
    problems: Sequence[str]


def audit(arrivals: Sequence[Event], ends: Mapping[str, Event]) -> Audit:
    """Judge the arrivals at one sink, in order; `ends` is each operation's true last snapshot."""
    first: dict[str, Event] = {}
    problems = [
        f"{event['id']}: repeated with another content"
        for event in arrivals
        if first.setdefault(event["id"], event) != event
    ]
    by_operation: dict[str, list[Event]] = defaultdict(list)
    for event in first.values():
        by_operation[event["subject"]].append(event)
    problems += [f"{name}: never heard of" for name in sorted(set(ends) - set(by_operation))]
    problems += [f"{name}: nobody asked for it" for name in sorted(set(by_operation) - set(ends))]
    for name in sorted(set(ends) & set(by_operation)):
        problems += [f"{name}: {fault}" for fault in _faults(by_operation[name], ends[name])]
    return Audit(events=first, duplicates=len(arrivals) - len(first), problems=problems)


def _faults(events: Sequence[Event], end: Event) -> list[str]:
    """Judge the first arrivals of one operation."""
    faults = []
    numbers = [int(event["sequence"]) for event in events]
    if numbers != list(range(1, len(events) + 1)):
        faults.append(f"out of order or with a gap: {numbers}")
    told: Counter[str] = Counter()
    for event in events:
        told.update(event["data"]["delta"])
        counters = event["data"]["operation"].get("stats", {})
        if {key: told[key] for key in counters} != counters:
            faults.append(f"deltas up to {event['sequence']} are {dict(told)}, not {counters}")
    finals = [event for event in events if event["data"]["final"]]
    kind = f"operation.{end['status'].lower()}"
    if [event["type"] for event in finals] != [kind] or finals != list(events[-1:]):
        faults.append(f"ends with {[event['type'] for event in finals]}, not with one {kind}")
    elif finals[0]["data"]["operation"] != end:
        faults.append(f"its end tells {finals[0]['data']['operation']}, not {end}")
    return faults
