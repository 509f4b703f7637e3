"""The errors of a store, with messages for its operator.

A module of its own, so that commands catch these without importing the database library.
"""


class StoreError(Exception):
    """The store cannot be used. `str()` is one sentence that names the fault and the fix.

    `needs_change` means that the fault stays until a setting, a path or a permission is changed.
    """

    def __init__(self, message: str, *, needs_change: bool = False) -> None:
        super().__init__(message)
        self.needs_change = needs_change


class StoreUnavailable(StoreError):
    """It cannot be opened or written: path, rights, disk, server."""


class Retryable(StoreUnavailable):
    """Nothing of the transaction was done, and the same transaction may succeed now.

    It conflicted with that of another daemon, or its connection ended before the commit.
    """


class StoreInUse(StoreError):
    """Another daemon uses it."""


class StoreTooOld(StoreError):
    """It was made by a program before the first release, whose schema nothing can migrate."""


class StoreTooNew(StoreError):
    """It was migrated by a newer program."""


class EventsGone(LookupError):
    """Requested events are no longer kept, so the later ones would follow a gap.

    The message says which. `store.retention` says for how long they are kept.
    """
