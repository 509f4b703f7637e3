"""Draws a live view on a terminal, and leaves the last picture there."""

from collections.abc import Callable, Sequence
from typing import Final

import anyio
from anyio.to_thread import run_sync
from rich.console import Console, Group, RenderableType
from rich.live import Live

_INTERVAL: Final = 0.25
# The picture shows times that change without news: redraw after this many intervals.
_MAX_UNCHANGED: Final = 4


class Painter:
    """Paints what `draw` returns, at most four times a second.

    Painting happens in a worker thread: a terminal that is held (Ctrl-S) must not hold up the
    requests.
    """

    def __init__(self, console: Console, draw: Callable[[], Sequence[RenderableType]]) -> None:
        self._draw = draw
        self._has_changed = True
        self._live = Live(
            console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )

    def changed(self) -> None:
        """Request a new picture."""
        self._has_changed = True

    async def run(self) -> None:
        """Paint until cancelled."""
        self._live.start()
        unchanged = 0
        while True:
            if self._has_changed or unchanged >= _MAX_UNCHANGED:
                self._has_changed, unchanged = False, 0
                await run_sync(self._paint)
            await anyio.sleep(_INTERVAL)
            unchanged += 1

    def leave(self, picture: Sequence[RenderableType]) -> None:
        """Leave this picture on the terminal."""
        self._live.start()
        self._live.update(Group(*picture), refresh=True)
        self._live.stop()

    def _paint(self) -> None:
        self._live.update(Group(*self._draw()))
        self._live.refresh()
