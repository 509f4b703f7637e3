"""An application that is made when its first request comes."""

from collections.abc import Callable

import anyio
from anyio.to_thread import run_sync
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Later"]


class Later:
    """Makes the application in a thread, once, while the loops go on turning.

    Its framework takes a good part of a second to import: a daemon is ready without it, and one
    that nobody ever asks anything never pays for it.
    """

    def __init__(self, make: Callable[[], ASGIApp]) -> None:
        self._make = make
        self._made: ASGIApp | None = None
        self._making = anyio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on."""
        async with self._making:
            if self._made is None:
                self._made = await run_sync(self._make)
        await self._made(scope, receive, send)
