"""Runs something in a thread with its own event loop, for tests that block."""

from abc import ABC, abstractmethod
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from anyio.from_thread import BlockingPortal, start_blocking_portal


class InThread(ABC):
    """A context manager that runs in its own event loop; any thread may call its methods."""

    def __init__(self) -> None:
        self._exits = ExitStack()
        self._portal: BlockingPortal | None = None

    def __enter__(self) -> Self:
        with ExitStack() as exits:
            portal = exits.enter_context(start_blocking_portal())
            self._start(portal, exits)
            self._portal = portal
            self._exits = exits.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._portal = None
        self._exits.close()

    @abstractmethod
    def _start(self, portal: BlockingPortal, exits: ExitStack) -> None:
        """Start in the event loop of `portal`; register cleanup with `exits`."""

    @property
    def _running(self) -> BlockingPortal:
        """The event loop, for calls from any thread."""
        if self._portal is None:
            raise RuntimeError(f"the {self._name} is not running; use it within `with`")
        return self._portal

    @property
    @abstractmethod
    def _name(self) -> str:
        """Its name in error messages."""
