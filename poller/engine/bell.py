"""News for many: whoever waits is woken together."""

import anyio

__all__ = ["Bell"]


class Bell:
    """Rung by anybody, heard by all who listen.

    `strokes` counts the rings: who remembers the count misses none between two waits.
    """

    def __init__(self) -> None:
        self.strokes = 0
        self._event = anyio.Event()

    def ring(self) -> None:
        """Wake everybody."""
        self.strokes += 1
        self._event.set()
        self._event = anyio.Event()

    async def wait(self, heard: int, seconds: float) -> int:
        """Wait, at most so long, until there were more strokes than `heard`; returns the count."""
        if self.strokes == heard:
            with anyio.move_on_after(seconds):
                await self._event.wait()
        return self.strokes
