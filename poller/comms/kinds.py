"""The kinds of operation, one row each: adding a kind is adding a row.

The id does not tell the kind (all share `comms_operation_`), so it is said at registration.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["DEFAULT_KIND", "KINDS", "Kind", "UnknownKind", "kind_named"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What differs between the sister resources.

    `path` is relative to the base URL. `counters` are the documented members of `stats`; `done`
    those of them that count finished recipients; `open` those that fall to zero when nothing can
    move any more.
    """

    name: str
    path: str
    counters: frozenset[str]
    done: frozenset[str]
    open: frozenset[str]


_MESSAGES: Final = Kind(
    name="messages",
    path="Messages",
    counters=frozenset(
        "total recipients attempts unaddressable scheduled queued sent delivered read undelivered "
        "failed canceled".split()
    ),
    done=frozenset("delivered read undelivered failed canceled unaddressable".split()),
    open=frozenset("queued scheduled sent".split()),
)
_EMAILS: Final = Kind(
    name="emails",
    path="Emails",
    counters=frozenset(
        "total recipients attempts scheduled queued sent delivered opened undelivered failed "
        "canceled".split()
    ),
    done=frozenset("delivered opened undelivered failed canceled".split()),
    open=frozenset("queued scheduled sent".split()),
)
_PUSH: Final = Kind(
    name="push-notifications",
    path="PushNotifications",
    counters=_MESSAGES.counters,
    done=_MESSAGES.done,
    open=_MESSAGES.open,
)
_SENDER_POOLS: Final = Kind(
    name="sender-pools",
    path="SenderPools",
    counters=frozenset("total queued created failed".split()),
    done=frozenset("created failed".split()),
    open=frozenset(("queued",)),
)

KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind for kind in (_MESSAGES, _EMAILS, _PUSH, _SENDER_POOLS)
}
DEFAULT_KIND: Final = _MESSAGES


class UnknownKind(ValueError):
    """No row of the table has that name; the message lists those that there are."""


def kind_named(name: str) -> Kind:
    """Return the row of that name.

    :raises UnknownKind: if there is none.
    """
    try:
        return KINDS[name]
    except KeyError:
        raise UnknownKind(f"unknown kind {name!r}; one of: {', '.join(KINDS)}") from None
