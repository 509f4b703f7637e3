"""The kinds of operation, one row each: their statuses, counters, and the paths of their messages.

A path is one possible course of a message: its statuses, and how long after leaving the queue it
takes them. The scenario of a send decides how many messages take which path. Lags are seconds at
speed 1 and never decrease along a path. Codes and texts are the vendor's where it publishes them.
Which codes operations of kinds other than messages report is our guess.

A shape is a variant of answers, where the vendor's documents disagree. It changes how things are
shown and named, not what happens to a send, except that `ends-at-sent` has no delivery receipts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final


@dataclass(frozen=True, slots=True)
class Hop:
    """The message gets `status`, `lag` seconds after it left the queue.

    If it has that status already, this is another attempt.
    """

    lag: float
    status: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt to send, made `lag` seconds after the message left the queue.

    `channel` None means the sender's own. The last attempt has the status of its message, earlier
    ones have failed. `error` is the code of a failure.
    """

    channel: str | None = None
    error: int | None = None
    lag: float = 0


@dataclass(frozen=True, slots=True)
class MessagePath:
    """One course from the queue to an end.

    If `addressed` is false no message is created: the recipient appears only in the counters and,
    with the code `error`, among the errors.
    """

    hops: tuple[Hop, ...]
    attempts: tuple[Attempt, ...] = (Attempt(),)
    error: int | None = None
    addressed: bool = True


def _sent(*hops: Hop, attempts: tuple[Attempt, ...] = (Attempt(),)) -> tuple[MessagePath, ...]:
    return (MessagePath(hops=(Hop(0, "SENT"), *hops), attempts=attempts),)


def _undelivered(*codes: int) -> tuple[MessagePath, ...]:
    hops = (Hop(0, "SENT"), Hop(15, "UNDELIVERED"))
    return tuple(
        MessagePath(hops=hops, attempts=(Attempt(error=code),), error=code) for code in codes
    )


def _failed(*codes: int) -> tuple[MessagePath, ...]:
    return tuple(
        MessagePath(hops=(Hop(0, "FAILED"),), attempts=(Attempt(error=code),), error=code)
        for code in codes
    )


_ONLY_WITH_RCS: Final = 61337
# RCS fails, and two seconds later the fallback is sent.
_FALLBACK: Final = (Attempt(channel="RCS", error=_ONLY_WITH_RCS), Attempt(lag=2))

_BY_CODE: Final = "by code"
"""The outcome whose paths are taken only if a scenario names their error code."""

# By outcome; the paths of one outcome are taken equally often.
MESSAGE_PATHS: Final[Mapping[str, tuple[MessagePath, ...]]] = {
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
        MessagePath(hops=(Hop(0, "UNADDRESSABLE"),), attempts=(), error=21612, addressed=False),
    ),
    _BY_CODE: (
        MessagePath(
            hops=(Hop(0, "SENT"), Hop(2, "FAILED")),
            attempts=(Attempt(channel="RCS", error=_ONLY_WITH_RCS),),
            error=_ONLY_WITH_RCS,
        ),
    ),
}
# A push notification has no other channel to fall back to.
PUSH_PATHS: Final[Mapping[str, tuple[MessagePath, ...]]] = {
    name: paths for name, paths in MESSAGE_PATHS.items() if name not in {"fallback", _BY_CODE}
}
EMAIL_PATHS: Final[Mapping[str, tuple[MessagePath, ...]]] = {
    "delivered": _sent(Hop(3, "DELIVERED")),
    "late": _sent(Hop(45, "DELIVERED")),
    "read": _sent(Hop(4, "DELIVERED"), Hop(60, "OPENED")),
    "undelivered": _undelivered(30005),
    "failed": _failed(21610, 30008),
}
POOL_PATHS: Final[Mapping[str, tuple[MessagePath, ...]]] = {
    "delivered": (MessagePath(hops=(Hop(0, "CREATED"),)),),
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
    """Return the vendor's text for an error code, or a general one if it publishes none."""
    return _ERROR_TEXTS.get(code, "Unknown error.")


def path_ending_in(code: int, outcomes: Mapping[str, tuple[MessagePath, ...]]) -> MessagePath:
    """Return the first path that ends with that error code, or else a path of a failed message."""
    own = (path for paths in outcomes.values() for path in paths if path.error == code)
    return next(own, None) or _failed(code)[0]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimulatedKind:
    """What differs between the kinds.

    `path` is the part of the URL after the version. `items` is the member in which its messages are
    listed, None if they cannot be listed; `item_prefix` begins their ids. `counters` are the
    members of `stats`: `total`, `recipients`, `attempts`, and statuses in lower case. `target` is
    the member of a send that lists the recipients, `channel` their usual channel, `sender_channel`
    the sender's. With `conversations`, a message can go to a group, and people can reply. If it is
    `cumulative`, a message counts under every status that it has had.
    """

    name: str
    path: str
    items: str | None
    item_prefix: str
    counters: tuple[str, ...]
    statuses: frozenset[str]
    outcomes: Mapping[str, tuple[MessagePath, ...]]
    target: str = "to"
    channel: str = "PHONE"
    sender_channel: str = "SMS"
    conversations: bool = False
    cumulative: bool = False
    lists_one_recipient: bool = False
    """Whether `to` of a message is one object instead of a list."""
    content: tuple[frozenset[str], ...] = ()
    """A send's content must have at least one member of each set."""


_OPERATION_STATUSES: Final = frozenset("SCHEDULED PROCESSING COMPLETED CANCELED".split())
_MESSAGE_COUNTERS: Final = tuple(
    "total recipients queued sent scheduled delivered read undelivered unaddressable failed "
    "canceled attempts".split()
)

_ROWS: Final = (
    SimulatedKind(
        name="messages",
        path="Messages",
        items="messages",
        item_prefix="comms_message_",
        counters=_MESSAGE_COUNTERS,
        statuses=_OPERATION_STATUSES,
        outcomes=MESSAGE_PATHS,
        conversations=True,
    ),
    SimulatedKind(
        name="emails",
        path="Emails",
        items="emails",
        item_prefix="comms_email_",
        # The vendor has no `recipients`, `attempts` and `unaddressable` here.
        counters=tuple(
            "total queued sent scheduled delivered opened undelivered failed canceled".split()
        ),
        statuses=_OPERATION_STATUSES,
        outcomes=EMAIL_PATHS,
        channel="EMAIL",
        sender_channel="EMAIL",
        content=(frozenset({"subject"}), frozenset({"html", "text"})),
    ),
    SimulatedKind(
        name="push-notifications",
        path="PushNotifications",
        items="pushNotifications",
        item_prefix="comms_pushnotification_",
        counters=_MESSAGE_COUNTERS,
        statuses=_OPERATION_STATUSES,
        outcomes=PUSH_PATHS,
        channel="PUSH",
        sender_channel="PUSH",
    ),
    SimulatedKind(
        name="sender-pools",
        path="SenderPools",
        items=None,
        item_prefix="comms_sender_",
        counters=("total", "queued", "created", "failed"),
        statuses=_OPERATION_STATUSES - {"SCHEDULED"},
        outcomes=POOL_PATHS,
        target="senders",
        channel="SENDER",
    ),
)

KINDS: Final[Mapping[str, SimulatedKind]] = {kind.name: kind for kind in _ROWS}


SHAPES: Final[Mapping[str, str]] = {
    "cumulative": "a message counts under every state that it has been in",
    "ends-at-sent": "push notifications have no receipts, nor counters for them",
    "guide-lists": "emails under data, with one object in to; push under notifications",
    "page-urls": "pagination.next and self are URLs",
    "page-tokens": "pagination.nextPageToken instead of next",
    "meta-urls": "meta.next_page_url instead of pagination",
}
_PAGING: Final = ("page-urls", "page-tokens", "meta-urls")
_UNRECEIPTED: Final = frozenset(("SENT", "FAILED", "UNADDRESSABLE"))
_RECEIPTS: Final = frozenset(("delivered", "read", "undelivered", "attempts"))


def check_shapes(shapes: tuple[str, ...]) -> None:
    """Check the names of shapes.

    :raises ValueError: for an unknown one, or two that contradict each other.
    """
    for name in shapes:
        if name not in SHAPES:
            raise ValueError(f"unknown shape {name!r}; one of: {', '.join(SHAPES)}")
    if len(chosen := [name for name in _PAGING if name in shapes]) > 1:
        raise ValueError(f"unknown shape “{' and '.join(chosen)}”; a list is paged in one way")


@lru_cache
def kinds_shaped(shapes: tuple[str, ...]) -> Mapping[str, SimulatedKind]:
    """Return the table of kinds in these shapes."""
    return {name: _shaped(kind, shapes) for name, kind in KINDS.items()}


def _shaped(kind: SimulatedKind, shapes: tuple[str, ...]) -> SimulatedKind:
    if "cumulative" in shapes:
        kind = replace(kind, cumulative=True)
    if "ends-at-sent" in shapes and kind.name == "push-notifications":
        kind = replace(
            kind,
            counters=tuple(name for name in kind.counters if name not in _RECEIPTS),
            outcomes={
                name: tuple(_unreceipted(path) for path in paths)
                for name, paths in kind.outcomes.items()
            },
        )
    if "guide-lists" in shapes and kind.name == "emails":
        kind = replace(kind, items="data", lists_one_recipient=True)
    if "guide-lists" in shapes and kind.name == "push-notifications":
        kind = replace(kind, items="notifications", item_prefix="comms_notification_")
    return kind


def _unreceipted(path: MessagePath) -> MessagePath:
    """Return the path up to its last hop that needs no receipt."""
    hops = tuple(hop for hop in path.hops if hop.status in _UNRECEIPTED)
    if hops == path.hops:
        return path
    attempts = tuple(replace(attempt, error=None) for attempt in path.attempts)
    return replace(path, hops=hops, attempts=attempts, error=None)
