"""Watches long-running communications operations to their end and reports what changed.

The Python API: `Poller` runs a poller inside the program, `connect` speaks to a running daemon, and
both have the same methods. Each name is imported at its first use.
"""

from typing import TYPE_CHECKING, Final

from poller.importing import importer

if TYPE_CHECKING:
    from poller.control.errors import ControlError
    from poller.library.connection import DaemonConnection, connect
    from poller.library.embedded import Poller
    from poller.library.errors import NotWatched, PollerClosed
    from poller.server.documents import GroupDocument, OperationDocument
    from poller.settings import SettingsError
    from poller.store.errors import EventsGone, StoreError
    from poller.tracking.event import EmittedEvent
    from poller.tracking.lifecycle import EventType
    from poller.tracking.registration import BadRegistration, Conflict

__version__ = "0.1.0"

__all__ = [
    "BadRegistration",
    "Conflict",
    "ControlError",
    "DaemonConnection",
    "EmittedEvent",
    "EventType",
    "EventsGone",
    "GroupDocument",
    "NotWatched",
    "OperationDocument",
    "Poller",
    "PollerClosed",
    "SettingsError",
    "StoreError",
    "__version__",
    "connect",
]

_PLACES: Final = {
    "BadRegistration": "poller.tracking.registration",
    "Conflict": "poller.tracking.registration",
    "DaemonConnection": "poller.library.connection",
    "ControlError": "poller.control.errors",
    "EmittedEvent": "poller.tracking.event",
    "EventType": "poller.tracking.lifecycle",
    "EventsGone": "poller.store.errors",
    "GroupDocument": "poller.server.documents",
    "NotWatched": "poller.library.errors",
    "OperationDocument": "poller.server.documents",
    "Poller": "poller.library.embedded",
    "PollerClosed": "poller.library.errors",
    "SettingsError": "poller.settings",
    "StoreError": "poller.store.errors",
    "connect": "poller.library.connection",
}

if not TYPE_CHECKING:  # type checkers know the names above, and no others
    __getattr__ = importer(__name__, _PLACES, globals())

    def __dir__() -> list[str]:
        return sorted(__all__)
