"""The kinds of operation, one row each: adding a kind is adding a row.

The kind cannot be read from the id (all share `comms_operation_`); a registration names it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class KindSpec:
    """One kind of operation: what differs from the other kinds.

    `path` is relative to the base URL. `counters` are the documented members of `stats`. Among
    them, `stages` are the states of a message on its way, in order; `receipts` those that only a
    delivery receipt can change; `stopped` the states of messages that end without being delivered;
    `unsuccessful` those that count as failures when the operation has ended.

    `items` are the names under which its messages are listed, the usual one first; empty where it
    lists none. `failed_statuses` are the statuses of messages behind the `unsuccessful` counters.
    """

    name: str
    path: str
    items: tuple[str, ...]
    item_prefixes: tuple[str, ...]
    counters: frozenset[str]
    stages: tuple[str, ...]
    receipts: frozenset[str]
    stopped: tuple[str, ...]
    unsuccessful: frozenset[str]
    failed_statuses: tuple[str, ...]

    @property
    def waiting(self) -> tuple[str, ...]:
        """The stages in which a message has not left the queue."""
        return tuple(name for name in self.stages if name not in self.receipts)[:-1]


_FAILED: Final = ("FAILED", "UNDELIVERED")

_MESSAGES: Final = KindSpec(
    name="messages",
    path="Messages",
    items=("messages",),
    item_prefixes=("comms_message_",),
    counters=frozenset(
        "total recipients attempts unaddressable scheduled queued sent delivered read undelivered "
        "failed canceled".split()
    ),
    stages=("scheduled", "queued", "sent", "delivered", "read"),
    receipts=frozenset(("delivered", "read", "undelivered")),
    stopped=("undelivered", "failed", "canceled", "unaddressable"),
    unsuccessful=frozenset(("failed", "undelivered", "unaddressable")),
    failed_statuses=_FAILED,
)
_EMAILS: Final = KindSpec(
    name="emails",
    path="Emails",
    items=("emails", "data"),
    item_prefixes=("comms_email_",),
    counters=frozenset(
        "total recipients attempts scheduled queued sent delivered opened undelivered failed "
        "canceled".split()
    ),
    stages=("scheduled", "queued", "sent", "delivered", "opened"),
    receipts=frozenset(("delivered", "opened", "undelivered")),
    stopped=("undelivered", "failed", "canceled"),
    unsuccessful=frozenset(("failed", "undelivered")),
    failed_statuses=_FAILED,
)
_PUSH: Final = replace(
    _MESSAGES,
    name="push-notifications",
    path="PushNotifications",
    items=("pushNotifications", "notifications"),
    item_prefixes=("comms_pushnotification_", "comms_notification_"),
)
_SENDER_POOLS: Final = KindSpec(
    name="sender-pools",
    path="SenderPools",
    items=(),
    item_prefixes=(),
    counters=frozenset(("total", "queued", "created", "failed")),
    stages=("queued", "created"),
    receipts=frozenset(),
    stopped=("failed",),
    unsuccessful=frozenset(("failed",)),
    failed_statuses=(),
)

KINDS: Final[Mapping[str, KindSpec]] = {
    kind.name: kind for kind in (_MESSAGES, _EMAILS, _PUSH, _SENDER_POOLS)
}
DEFAULT_KIND: Final = _MESSAGES


class UnknownKind(ValueError):
    """No row of the table has that name; the message lists the known names."""


def kind_named(name: str) -> KindSpec:
    """Return the row of that name.

    :raises UnknownKind: if no kind has that name.
    """
    try:
        return KINDS[name]
    except KeyError:
        raise UnknownKind(f"unknown kind {name!r}; one of: {', '.join(KINDS)}") from None
