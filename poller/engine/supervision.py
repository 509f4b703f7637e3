"""Keeps the loops of a daemon running, and shows that they run.

A step that fails is logged and tried again. Trouble with the store is expected and takes one line.
Anything else is a defect: it is logged with its traceback, and the loop continues, because a daemon
that crashes on one odd operation would crash on it at every start and watch none of the others.

Each loop reports every turn itself. A loop that waits for a good reason (a paused account, a
request within its deadline) still turns every few seconds. So a loop hangs where its last turn is
long ago, or where it has never turned.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final

import anyio

from poller.log import get_logger
from poller.store.errors import StoreError
from poller.trouble import TroubleLog

log = get_logger()

_PAUSE: Final = 1.0


_HANGS_AFTER: Final = 30.0
"""Seconds: longer than the longest wait for the store's lock."""


class Heartbeats:
    """When each loop last turned, on a monotonic clock in seconds."""

    def __init__(
        self, expected: Collection[str] = (), *, clock: Callable[[], float] = anyio.current_time
    ) -> None:
        self._clock = clock
        self._beats: dict[str, float | None] = dict.fromkeys(expected)
        self._listener: Callable[[], None] | None = None

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every beat, in the loop that beats; it must not block."""
        self._listener = listener

    def beat(self, loop: str) -> None:
        """Report a turn of this loop."""
        self._beats[loop] = self._clock()
        if self._listener is not None:
            self._listener()

    def leave(self, loop: str) -> None:
        """Report that this loop has ended normally."""
        self._beats.pop(loop, None)

    @property
    def ages(self) -> Mapping[str, float | None]:
        """Seconds since the last beat of each loop; None for one that has not begun."""
        now = self._clock()
        return {
            loop: None if beat is None else max(0.0, now - beat)
            for loop, beat in self._beats.items()
        }

    def silent(self, seconds: float = _HANGS_AFTER) -> frozenset[str]:
        """Return the loops that hang: no beat for `seconds`, or none at all."""
        return frozenset(loop for loop, age in self.ages.items() if age is None or age > seconds)


async def attempt(
    step: Callable[[], Awaitable[object]],
    *,
    name: str,
    troubles: TroubleLog | None = None,
    **fields: object,
) -> bool:
    """Run one step; False where it failed. `fields` go into the log line.

    The runs of a repeated step share one `troubles`, so that a lasting failure is not logged each
    time.
    """
    troubles = troubles or TroubleLog()
    try:
        await step()
    except StoreError as error:
        troubles.failure(
            log,
            "store.unavailable",
            subject=name,
            level="error",
            error=str(error),
            loop=name,
            **fields,
        )
    except Exception:
        log.exception("engine.defect", loop=name, **fields)
    else:
        troubles.success(log, "store.unavailable", "store.recovered", subject=name, loop=name)
        return True
    return False


async def repeat(
    step: Callable[[], Awaitable[bool | None]], *, name: str, heartbeats: Heartbeats | None = None
) -> None:
    """Run `step` again and again until it returns True; after a failure, wait a second first.

    Every turn is a beat of the loop `name`; at the end the loop leaves `heartbeats`.
    """
    done: bool | None = False
    troubles = TroubleLog()

    async def once() -> None:
        nonlocal done
        done = await step()

    try:
        while not done:
            if heartbeats is not None:
                heartbeats.beat(name)
            if not await attempt(once, name=name, troubles=troubles):
                await anyio.sleep(_PAUSE)
    finally:
        if heartbeats is not None:
            heartbeats.leave(name)
