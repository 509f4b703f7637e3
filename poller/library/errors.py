"""Errors of the Python API, in addition to those of settings, store and daemon."""


class NotWatched(LookupError):
    """Nothing is watched under that id or name: it was never registered, or was forgotten."""

    def __init__(self, subject: str) -> None:
        super().__init__(f"{subject} is not watched; call watch() first")
        self.subject = subject


class PollerClosed(RuntimeError):
    """The poller has stopped, or was not started: use it within `async with`."""
