"""What can be wrong with a store, in words for the person who runs it.

A module of its own: commands catch these without importing the database library.
"""


class StoreError(Exception):
    """The store cannot be used. `str()` is one sentence that names the fault and the fix.

    `needs_change` says that it stays so until somebody changes a setting, a path or a permission.
    """

    def __init__(self, message: str, *, needs_change: bool = False) -> None:
        super().__init__(message)
        self.needs_change = needs_change


class StoreUnavailable(StoreError):
    """It cannot be opened or written: path, rights, disk, server."""


class Retryable(StoreUnavailable):
    """Nothing of the transaction was done, and the same transaction may succeed now.

    Another daemon was in its way, or its connection ended before the commit.
    """


class StoreInUse(StoreError):
    """Another daemon has it."""


class StoreTooOld(StoreError):
    """It was made by a program before the first release, whose schema nothing can migrate."""


class StoreTooNew(StoreError):
    """It was migrated by a newer program."""


class EventsGone(LookupError):
    """Events that were asked for are no longer kept: what comes later would have a gap.

    The message says which. `store.retention` says for how long they are kept.
    """
