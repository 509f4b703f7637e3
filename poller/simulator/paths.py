"""The ways a message can go, as data: which statuses, how long after it left the queue.

A row of these tables is a way; how many messages take it is the fate's business. Lags are seconds
at speed 1 and never fall along a path. Codes and texts are the vendor's published ones where it
publishes them; which of them an operation of another kind than messages reports is our guess.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["EMAIL_PATHS", "ERROR_TEXTS", "MESSAGE_PATHS", "POOL_PATHS", "Attempt", "Hop", "Path"]


@dataclass(frozen=True, slots=True)
class Hop:
    """The message takes `status` `lag` seconds after it left the queue."""

    lag: float
    status: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """A try to send; `channel` None is the sender's own, `error` None leaves it as the message."""

    channel: str | None = None
    error: int | None = None


@dataclass(frozen=True, slots=True)
class Path:
    """One way from the queue to an end.

    Where `addressed` is false no message comes to be: the recipient shows in the counters and
    among the errors only, as `error`.
    """

    hops: tuple[Hop, ...]
    attempts: tuple[Attempt, ...] = (Attempt(),)
    error: int | None = None
    addressed: bool = True


def _sent(*hops: Hop, attempts: tuple[Attempt, ...] = (Attempt(),)) -> tuple[Path, ...]:
    return (Path(hops=(Hop(0, "SENT"), *hops), attempts=attempts),)


def _undelivered(*codes: int) -> tuple[Path, ...]:
    hops = (Hop(0, "SENT"), Hop(15, "UNDELIVERED"))
    return tuple(Path(hops=hops, attempts=(Attempt(error=code),), error=code) for code in codes)


def _failed(*codes: int) -> tuple[Path, ...]:
    return tuple(
        Path(hops=(Hop(0, "FAILED"),), attempts=(Attempt(error=code),), error=code)
        for code in codes
    )


_FALLBACK: Final = (Attempt(channel="RCS", error=61337), Attempt())

# By outcome; the paths of one outcome are taken equally often.
MESSAGE_PATHS: Final[Mapping[str, tuple[Path, ...]]] = {
    "delivered": _sent(Hop(3, "DELIVERED")),
    "fallback": _sent(Hop(8, "DELIVERED"), attempts=_FALLBACK),
    "late": _sent(Hop(45, "DELIVERED")),
    "read": (
        *_sent(Hop(3, "DELIVERED"), Hop(20, "READ")),
        *_sent(Hop(4, "DELIVERED"), Hop(60, "READ")),
    ),
    "undelivered": _undelivered(30003, 30005),
    "failed": _failed(21610, 30006, 30007),
    "unaddressable": (
        Path(hops=(Hop(0, "UNADDRESSABLE"),), attempts=(), error=21612, addressed=False),
    ),
}
EMAIL_PATHS: Final[Mapping[str, tuple[Path, ...]]] = {
    "delivered": _sent(Hop(3, "DELIVERED")),
    "late": _sent(Hop(45, "DELIVERED")),
    "read": _sent(Hop(4, "DELIVERED"), Hop(60, "OPENED")),
    "undelivered": _undelivered(30005),
    "failed": _failed(21610, 30008),
}
POOL_PATHS: Final[Mapping[str, tuple[Path, ...]]] = {
    "delivered": (Path(hops=(Hop(0, "CREATED"),)),),
    "failed": _failed(30008),
}

ERROR_TEXTS: Final[Mapping[int, str]] = {
    21610: "Attempt to send to unsubscribed recipient.",
    21612: "No address of the recipient can be reached from an address of the sender.",
    30003: "Unreachable destination handset.",
    30005: "Unknown destination handset.",
    30006: "Landline or unreachable carrier.",
    30007: "Message filtered.",
    30008: "Unknown error.",
    61337: "Recipient does not have RCS enabled.",
}
