"""A cached value that is refreshed in the background, so that no request waits for a database."""

from asyncio import Task, get_running_loop, wait
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

import anyio

T = TypeVar("T")

_PATIENCE: Final = 0.7


class Refreshed(Generic[T]):
    """The latest result of `find`, which runs on request, at most once in `seconds`."""

    def __init__(self, find: Callable[[], Awaitable[T]], *, seconds: float) -> None:
        self._find = find
        self._seconds = seconds
        self._value: T | None = None
        self._found_at: float | None = None
        self._begun_at = 0.0
        self._task: Task[None] | None = None

    @property
    def overdue(self) -> float:
        """Seconds since the present run began; 0 if none is in progress."""
        if self._task is None or self._task.done():
            return 0.0
        return anyio.current_time() - self._begun_at

    async def get(self) -> T | None:
        """Return the latest result, a new one if it is ready in time; None before the first."""
        now = anyio.current_time()
        if self._found_at is not None and now - self._found_at < self._seconds:
            return self._value
        if self._task is None or self._task.done():
            self._begun_at = now
            self._task = get_running_loop().create_task(self._run())
        # a cancelled request does not cancel the run: others wait for it
        await wait({self._task}, timeout=_PATIENCE)
        if self._task.done() and (error := self._task.exception()) is not None:
            raise error
        return self._value

    async def _run(self) -> None:
        self._value = await self._find()
        self._found_at = anyio.current_time()
