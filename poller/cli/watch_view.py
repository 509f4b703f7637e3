"""The live view: a bar for each operation, what they sum up to, and what is in the way."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final

import anyio
from anyio.to_thread import run_sync
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from poller.cli.watch_rows import Totals, Track, busiest, short_names, status_of
from poller.cli.watch_table import counts_line, format_span, make_table, statuses_line
from poller.engine.onlooker import News, Update
from poller.engine.trouble import Trouble
from poller.tracking.watch import Watch

__all__ = ["LiveView"]

_INTERVAL: Final = 0.25
# Times run on even where nothing was learned: so many intervals may pass without a new picture.
_LONGEST_STILL: Final = 4
# Lines that are no bars: header, “and more”, a gap, the sum, the trouble (it may wrap), the cursor.
_OTHER_LINES: Final = 8
_HINT: Final = "Not found: is it of another kind (--kind), or of another account?"


class LiveView:
    """Shows operations on a terminal, painted at most four times a second.

    `now` returns the time in UTC. Painting happens in a worker thread: a terminal that is held
    (Ctrl-S) must not hold up the requests.
    """

    def __init__(
        self, watches: Iterable[Watch], *, console: Console, now: Callable[[], datetime]
    ) -> None:
        self._tracks = {watch.id: Track(watch=watch) for watch in watches}
        self._totals = Totals.of(track.watch for track in self._tracks.values())
        self._names = short_names(list(self._tracks))
        self._now = now
        self._since = now()
        self._trouble: Trouble | None = None
        self._changed = True
        self._console = console
        self._live = Live(
            console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )

    async def show(self, news: Sequence[News]) -> None:
        """Take in news; the next picture shows them."""
        for item in news:
            if isinstance(item, Update):
                track = self._tracks[item.watch.id]
                self._totals = self._totals.changed(track.watch, item.watch)
                self._tracks[item.watch.id] = track.after(item)
            else:
                self._trouble = item
        self._changed = True

    async def run(self) -> None:
        """Paint until cancelled."""
        self._live.start()
        still = 0
        while True:
            if self._changed or still >= _LONGEST_STILL:
                self._changed, still = False, 0
                await run_sync(self._paint)
            await anyio.sleep(_INTERVAL)
            still += 1

    async def close(self, ending: str) -> None:
        """Leave the last state on the screen, with a summary; `ending` says why it is the last.

        Where nothing could be learned at all, nothing is left.
        """
        number = self._totals.operations
        head = Text(f"{number:,} operation{'s'[: number != 1]}: ", style="bold")
        picture = [*self._bars(), Text(), self._sum(head + statuses_line(self._totals.statuses))]
        if self._trouble is not None:
            picture.append(self._obstacle())
        if any(track.reason == "not_found" for track in self._tracks.values()):
            picture.append(Text(_HINT, style="dim"))
        if ending:
            picture.append(Text(ending, style="bold"))
        if self._trouble is not None and self._trouble.fatal:
            picture = []
        self._live.start()
        self._live.update(Group(*picture), refresh=True)
        self._live.stop()

    def _paint(self) -> None:
        head = Text(f"{self._totals.ended:,} of {self._totals.operations:,} ended", style="bold")
        self._live.update(Group(*self._bars(), Text(), self._sum(head), self._obstacle()))
        self._live.refresh()

    def _sum(self, head: Text) -> Text:
        counts = counts_line(self._totals.counts)
        watched = Text(format_span(max(0.0, -self._until(self._since))), style="dim")
        return Text(" · ", style="dim").join(part for part in (head, counts, watched) if part)

    def _bars(self) -> list[RenderableType]:
        size = self._console.size
        shown = busiest(list(self._tracks.values()), max(1, size.height - _OTHER_LINES))
        now = self._now()
        lines: list[RenderableType] = [
            make_table([track.row(now) for track in shown], self._names, width=size.width)
        ]
        if (hidden := len(self._tracks) - len(shown)) > 0:
            statuses = self._totals.statuses - Counter(status_of(track.watch) for track in shown)
            lines.append(
                Text(f"and {hidden:,} more: ", style="dim", no_wrap=True, overflow="ellipsis")
                + statuses_line(statuses)
            )
        return lines

    def _obstacle(self) -> Text:
        """Say what is in the way; an empty line where nothing is, so that nothing jumps."""
        trouble = self._trouble
        if trouble is None:
            return Text()
        line = Text(f"! {trouble.what}", style="yellow")
        if trouble.until is not None and (wait := self._until(trouble.until)) > 0:
            line.append(f" · next request in {format_span(wait)}", style="bold")
        return line

    def _until(self, instant: datetime) -> float:
        return (instant - self._now()).total_seconds()
