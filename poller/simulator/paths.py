"""The ways a message can go, as data: which statuses, how long after it left the queue.

A row of these tables is a way; how many messages take it is the fate's business. Lags are seconds
at speed 1 and never fall along a path. Codes and texts are the vendor's published ones where it
publishes them; which of them an operation of another kind than messages reports is our guess.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = [
    "EMAIL_PATHS",
    "MESSAGE_PATHS",
    "POOL_PATHS",
    "PUSH_PATHS",
    "Attempt",
    "Hop",
    "Path",
    "error_text",
    "path_ending_in",
]


@dataclass(frozen=True, slots=True)
class Hop:
    """The message takes `status` `lag` seconds after it left the queue.

    Where that is the status that it had, something else of it changed: another attempt was made.
    """

    lag: float
    status: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """A try to send, made `lag` seconds after the message left the queue.

    `channel` None is the sender's own, `error` None leaves it as the message. It has failed as
    soon as the next one is made.
    """

    channel: str | None = None
    error: int | None = None
    lag: float = 0


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


_ONLY_WITH_RCS: Final = 61337
# Two seconds later RCS has failed, and the fallback is on its way.
_FALLBACK: Final = (Attempt(channel="RCS", error=_ONLY_WITH_RCS), Attempt(lag=2))

_BY_CODE: Final = "by code"
"""The outcome whose paths are taken only where a fate names the code that they end in."""

# By outcome; the paths of one outcome are taken equally often.
MESSAGE_PATHS: Final[Mapping[str, tuple[Path, ...]]] = {
    "delivered": _sent(Hop(3, "DELIVERED")),
    "fallback": _sent(Hop(2, "SENT"), Hop(8, "DELIVERED"), attempts=_FALLBACK),
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
    _BY_CODE: (
        Path(
            hops=(Hop(0, "SENT"), Hop(2, "FAILED")),
            attempts=(Attempt(channel="RCS", error=_ONLY_WITH_RCS),),
            error=_ONLY_WITH_RCS,
        ),
    ),
}
# A push notification knows no other channel to fall back to.
PUSH_PATHS: Final[Mapping[str, tuple[Path, ...]]] = {
    name: paths for name, paths in MESSAGE_PATHS.items() if name not in {"fallback", _BY_CODE}
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

_ERROR_TEXTS: Final[Mapping[int, str]] = {
    21610: "Attempt to send to unsubscribed recipient.",
    21612: "No address of the recipient can be reached from an address of the sender.",
    30003: "Unreachable destination handset.",
    30005: "Unknown destination handset.",
    30006: "Landline or unreachable carrier.",
    30007: "Message filtered.",
    30008: "Unknown error.",
    61337: "Recipient does not have RCS enabled.",
}


def error_text(code: int) -> str:
    """Return what the vendor says of an error code: little, of one that it does not publish."""
    return _ERROR_TEXTS.get(code, "Unknown error.")


def path_ending_in(code: int, outcomes: Mapping[str, tuple[Path, ...]]) -> Path:
    """Return the first path that ends in an error of that code; one that fails if there is none."""
    own = (path for paths in outcomes.values() for path in paths if path.error == code)
    return next(own, None) or _failed(code)[0]
