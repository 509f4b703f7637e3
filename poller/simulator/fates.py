"""What becomes of a send: the shares of its recipients that go each way, and who interrupts it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["FATES", "SHARES", "Fate", "fate_named"]

SHARES: Final = ("fallback", "late", "read", "undelivered", "failed", "unaddressable")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """Shares of the recipients, all together at most 1; the rest is delivered promptly.

    A `fallback` is delivered by SMS after RCS failed, a `late` one long after it was sent. A kind
    that knows no such outcome delivers that share. `canceled_at` is the part of the sending time
    after which somebody cancels what is still queued. `seconds` is how long the queue takes at
    speed 1, None for what its length asks for.

    :raises ValueError: where a value is out of its range; the message names the field.
    """

    fallback: float = 0.0
    late: float = 0.0
    read: float = 0.0
    undelivered: float = 0.0
    failed: float = 0.0
    unaddressable: float = 0.0
    canceled_at: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        shares = [getattr(self, name) for name in SHARES]
        if min(shares) < 0 or sum(shares) > 1 + 1e-9:
            raise ValueError("the shares of a fate are 0 or more each and at most 1 in all")
        if self.canceled_at is not None and not 0 <= self.canceled_at < 1:
            raise ValueError(f"canceled_at is {self.canceled_at!r}; give a part of 1, such as 0.5")
        if self.seconds is not None and not 0 < self.seconds < float("inf"):
            raise ValueError(f"seconds is {self.seconds!r}; give seconds above 0")


FATES: Final[Mapping[str, Fate]] = {
    "ordinary": Fate(
        fallback=0.08, late=0.05, read=0.3, undelivered=0.03, failed=0.02, unaddressable=0.01
    ),
    "smooth": Fate(),
    "troubled": Fate(
        fallback=0.15, late=0.1, read=0.1, undelivered=0.12, failed=0.18, unaddressable=0.05
    ),
    "canceled": Fate(read=0.2, undelivered=0.03, failed=0.02, canceled_at=0.5),
}


def fate_named(name: str) -> Fate:
    """Return the fate of that name.

    :raises ValueError: if there is none; the message lists those that there are.
    """
    if name not in FATES:
        raise ValueError(f"unknown fate {name!r}; one of: {', '.join(FATES)}")
    return FATES[name]
