"""What the store knows, found out beside the probes that ask: none of them waits for a database."""

from asyncio import Task, get_running_loop, wait
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

import anyio

T = TypeVar("T")

_PATIENCE: Final = 0.7


class Refreshed(Generic[T]):
    """The latest result of `find`, which runs when somebody asks, at most once in `seconds`."""

    def __init__(self, find: Callable[[], Awaitable[T]], *, seconds: float) -> None:
        self._find = find
        self._seconds = seconds
        self._value: T | None = None
        self._found_at: float | None = None
        self._begun_at = 0.0
        self._task: Task[None] | None = None

    @property
    def overdue(self) -> float:
        """Seconds that a run under way has taken so far; 0 where none is under way."""
        if self._task is None or self._task.done():
            return 0.0
        return anyio.current_time() - self._begun_at

    async def get(self) -> T | None:
        """Return the latest result: one of now, where that comes in time; None for none yet."""
        now = anyio.current_time()
        if self._found_at is not None and now - self._found_at < self._seconds:
            return self._value
        if self._task is None or self._task.done():
            self._begun_at = now
            self._task = get_running_loop().create_task(self._run())
        # a request that is cancelled does not end the run: others wait for it
        await wait({self._task}, timeout=_PATIENCE)
        if self._task.done() and (error := self._task.exception()) is not None:
            raise error
        return self._value

    async def _run(self) -> None:
        self._value = await self._find()
        self._found_at = anyio.current_time()
