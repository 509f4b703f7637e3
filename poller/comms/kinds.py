"""The kinds of operation, one row each: adding a kind is adding a row.

The id does not tell the kind (all share `comms_operation_`), so it is said at registration.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["DEFAULT_KIND", "KINDS", "KindSpec", "UnknownKind", "kind_named"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KindSpec:
    """What differs between the sister resources.

    `path` is relative to the base URL. `counters` are the documented members of `stats`; `done`
    those of them that count finished recipients; `open` those that fall to zero when nothing can
    move any more; `unsuccessful` those that make an end one with failures.

    `items` is the name under which its messages are listed, None where it lists none;
    `message_prefix` what their ids begin with, None where the vendor does not say;
    `failed_statuses` are the statuses of messages behind the `unsuccessful` counters.
    """

    name: str
    path: str
    items: str | None
    message_prefix: str | None
    counters: frozenset[str]
    done: frozenset[str]
    open: frozenset[str]
    unsuccessful: frozenset[str]
    failed_statuses: tuple[str, ...]


_FAILED: Final = ("FAILED", "UNDELIVERED")

_MESSAGES: Final = KindSpec(
    name="messages",
    path="Messages",
    items="messages",
    message_prefix="comms_message_",
    counters=frozenset(
        "total recipients attempts unaddressable scheduled queued sent delivered read undelivered "
        "failed canceled".split()
    ),
    done=frozenset("delivered read undelivered failed canceled unaddressable".split()),
    open=frozenset("queued scheduled sent".split()),
    unsuccessful=frozenset("failed undelivered unaddressable".split()),
    failed_statuses=_FAILED,
)
_EMAILS: Final = KindSpec(
    name="emails",
    path="Emails",
    items="emails",
    message_prefix=None,
    counters=frozenset(
        "total recipients attempts scheduled queued sent delivered opened undelivered failed "
        "canceled".split()
    ),
    done=frozenset("delivered opened undelivered failed canceled".split()),
    open=frozenset("queued scheduled sent".split()),
    unsuccessful=frozenset("failed undelivered".split()),
    failed_statuses=_FAILED,
)
_PUSH: Final = KindSpec(
    name="push-notifications",
    path="PushNotifications",
    items="pushNotifications",
    message_prefix=None,
    counters=_MESSAGES.counters,
    done=_MESSAGES.done,
    open=_MESSAGES.open,
    unsuccessful=_MESSAGES.unsuccessful,
    failed_statuses=_MESSAGES.failed_statuses,
)
_SENDER_POOLS: Final = KindSpec(
    name="sender-pools",
    path="SenderPools",
    items=None,
    message_prefix=None,
    counters=frozenset("total queued created failed".split()),
    done=frozenset("created failed".split()),
    open=frozenset(("queued",)),
    unsuccessful=frozenset(("failed",)),
    failed_statuses=(),
)

KINDS: Final[Mapping[str, KindSpec]] = {
    kind.name: kind for kind in (_MESSAGES, _EMAILS, _PUSH, _SENDER_POOLS)
}
DEFAULT_KIND: Final = _MESSAGES


class UnknownKind(ValueError):
    """No row of the table has that name; the message lists those that there are."""


def kind_named(name: str) -> KindSpec:
    """Return the row of that name.

    :raises UnknownKind: if there is none.
    """
    try:
        return KINDS[name]
    except KeyError:
        raise UnknownKind(f"unknown kind {name!r}; one of: {', '.join(KINDS)}") from None
