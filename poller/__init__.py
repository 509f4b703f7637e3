"""Watches long-running communications operations to their end and reports what changed.

The Python API: `Poller` is a poller inside the program, `connect` speaks to a running daemon, and
both have the same methods. Importing this package imports none of it before it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

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
    "BadRegistration": "tracking.registration",
    "Conflict": "tracking.registration",
    "DaemonConnection": "library.connection",
    "ControlError": "control.errors",
    "EmittedEvent": "tracking.event",
    "EventType": "tracking.lifecycle",
    "EventsGone": "store.errors",
    "GroupDocument": "server.documents",
    "NotWatched": "library.errors",
    "OperationDocument": "server.documents",
    "Poller": "library.embedded",
    "PollerClosed": "library.errors",
    "SettingsError": "settings",
    "StoreError": "store.errors",
    "connect": "library.connection",
}

if not TYPE_CHECKING:  # type checkers know the names above, and no others

    def __getattr__(name: str) -> object:
        """Import what is used of the Python API."""
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value: object = getattr(import_module(f"poller.{_PLACES[name]}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted(__all__)
