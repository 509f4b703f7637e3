"""A wake-up call that is never lost: a beat before the wait ends the wait at once."""

import anyio

__all__ = ["Pulse"]


class Pulse:
    """Beaten by anybody, waited for by one."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def beat(self) -> None:
        """Wake the waiter, or the next one."""
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Wait for a beat, at most so long."""
        with anyio.move_on_after(seconds):
            await self._event.wait()
        if self._event.is_set():
            self._event = anyio.Event()
