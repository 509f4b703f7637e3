"""Which events a sink wants."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from poller.tracking.event import Event

__all__ = ["FINAL", "Subscription", "wants_type"]

FINAL = "final"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What the sink of that name wants: type patterns (`operation.*`, `final`) and labels."""

    sink: str
    events: tuple[str, ...] = ("*",)
    labels: Mapping[str, str] = field(default_factory=dict)

    def wants(self, event: Event) -> bool:
        """Tell whether a delivery of `event` is to be made."""
        return wants_type(self.events, event.type, final=event.final) and all(
            event.labels.get(name) == value for name, value in self.labels.items()
        )


def wants_type(patterns: Iterable[str], event_type: str, *, final: bool) -> bool:
    """Tell whether any of the patterns (`operation.*`, `final`) means an event of this type."""
    return any(_matches(pattern, event_type, final=final) for pattern in patterns)


def _matches(pattern: str, event_type: str, *, final: bool) -> bool:
    if pattern == FINAL:
        return final
    if pattern.endswith("*"):
        return event_type.startswith(pattern[:-1])
    return event_type == pattern
