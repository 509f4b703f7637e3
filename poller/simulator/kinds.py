"""The kinds of operation that are served, one row each: a fifth kind is a fifth row."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from poller.simulator.paths import EMAIL_PATHS, MESSAGE_PATHS, POOL_PATHS, PUSH_PATHS, Path

__all__ = ["KINDS", "SimulatedKind"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimulatedKind:
    """What differs between the sister resources.

    `path` is the member of the URL after the version; `items` the name under which its messages
    are listed and `item_prefix` what their ids begin with, None where there is nothing to list.
    `counters` are the members of `stats`: `total`, `recipients`, `attempts`, and statuses in
    lower case. `target` is the member of a send that lists the recipients, `channel` their usual
    channel, `sender_channel` the sender's. Where there are `conversations`, one message can go to a
    group, and people write back. Where it is `cumulative`, a message counts under every status that
    it has had.
    """

    name: str
    path: str
    items: str | None
    item_prefix: str
    counters: tuple[str, ...]
    statuses: frozenset[str]
    outcomes: Mapping[str, tuple[Path, ...]]
    target: str = "to"
    channel: str = "PHONE"
    sender_channel: str = "SMS"
    conversations: bool = False
    cumulative: bool = False
    lists_one_recipient: bool = False
    """Whether `to` of a message is one object in place of a list."""
    content: tuple[frozenset[str], ...] = ()
    """Of each set, a send's content holds at least one member."""


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
        # The vendor leaves `recipients` and `attempts` out here, and knows no `unaddressable`.
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
