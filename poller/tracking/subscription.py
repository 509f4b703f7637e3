"""Which events a sink wants."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from poller.tracking.events import Event

__all__ = ["FINAL", "Subscription"]

FINAL = "final"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What the sink of that name wants: type patterns (`operation.*`, `final`) and labels."""

    sink: str
    events: tuple[str, ...] = ("*",)
    labels: Mapping[str, str] = field(default_factory=dict)

    def wants(self, event: Event) -> bool:
        """Tell whether a delivery of `event` is to be made."""
        return any(_matches(pattern, event) for pattern in self.events) and all(
            event.labels.get(name) == value for name, value in self.labels.items()
        )


def _matches(pattern: str, event: Event) -> bool:
    if pattern == FINAL:
        return event.final
    if pattern.endswith("*"):
        return event.type.startswith(pattern[:-1])
    return event.type == pattern
