"""What keeps one defect from ending everything: a step that fails is told, and tried again.

Trouble with the store is expected and told in one line. Anything else is a defect of ours: told
with its traceback, and outlived, because a daemon that dies of one odd operation would die of it
again at every start and watch none of the others.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import structlog

from poller.engine.heartbeat import Heartbeats
from poller.store.errors import StoreError
from poller.trouble import TroubleLog

__all__ = ["attempt", "repeat"]

log = structlog.get_logger()

_PAUSE: Final = 1.0


async def attempt(
    step: Callable[[], Awaitable[object]],
    *,
    name: str,
    troubles: TroubleLog | None = None,
    **fields: object,
) -> bool:
    """Run one step; False where it failed. `fields` go into the log line.

    A step that runs many times brings the `troubles` that it shares with its other runs.
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

    Every turn is a beat of that name, which leaves `heartbeats` with the end.
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
