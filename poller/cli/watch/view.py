"""The live view: a line for each watch, the sums, and current trouble."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final

from rich.console import Console, RenderableType
from rich.text import Text

from poller.cli.formatting import format_span
from poller.cli.watch.news import GroupUpdate, News, Trouble, Update
from poller.cli.watch.painter import Painter
from poller.cli.watch.rows import Totals, Track, WatchRow, busiest, short_names, status_of
from poller.cli.watch.table import (
    breakdown_lines,
    counts_line,
    detail_lines,
    make_message_table,
    make_table,
    statuses_line,
    summary_line,
)
from poller.tracking.watch import ResourceType, Watch

# Lines other than bars: header, “and more”, a gap, the sum, trouble (it may wrap), the cursor.
_OTHER_LINES: Final = 8
# If both operations and messages are shown: one more gap and header.
_SECOND_TABLE: Final = 2
# Breakdowns: a gap and a line for each; a single one may wrap, of many only the first are shown.
_ONE_EXPLAINED: Final = 4
_MOST_EXPLAINED: Final = 7
_HINTS: Final = {
    ResourceType.OPERATION: "Not found: check its kind (--kind) and its account.",
    ResourceType.MESSAGE: "Not found: it belongs to another account, or is over 7 days old.",
}


class LiveView:
    """Shows watches on a terminal; `now` returns the time in UTC."""

    def __init__(
        self, watches: Iterable[Watch], *, console: Console, now: Callable[[], datetime]
    ) -> None:
        self._tracks = {watch.id: Track(watch=watch) for watch in watches}
        self._totals = Totals.of(track.watch for track in self._tracks.values())
        self._names = short_names(list(self._tracks))
        self._now = now
        self._since = now()
        self._trouble: Trouble | None = None
        self._console = console
        self._painter = Painter(console, self._picture)

    async def show(self, news: Sequence[News]) -> None:
        """Store news; the next picture shows them."""
        for item in news:
            if isinstance(item, Update):
                track = self._tracks[item.watch.id]
                self._totals = self._totals.changed(track.watch, item.watch)
                self._tracks[item.watch.id] = track.after(item)
            elif not isinstance(item, GroupUpdate):
                self._trouble = item
        self._painter.changed()

    async def run(self) -> None:
        """Paint until cancelled."""
        await self._painter.run()

    async def close(self, ending: str) -> None:
        """Leave the last state on the screen, with a summary and the reason `ending`, if any.

        After a fatal trouble the screen is left empty.
        """
        operations = summary_line("operation", self._totals.statuses)
        messages = summary_line("message", self._totals.message_statuses)
        picture = [*self._bars(), Text(), self._sum(operations, after=messages)]
        if self._trouble is not None:
            picture.append(self._trouble_line())
        missing = {
            track.watch.resource_type
            for track in self._tracks.values()
            if track.reason == "not_found"
        }
        picture += [Text(_HINTS[thing], style="dim") for thing in ResourceType if thing in missing]
        if ending:
            picture.append(Text(ending, style="bold"))
        if self._trouble is not None and self._trouble.fatal:
            picture = []
        self._painter.leave(picture)

    def _picture(self) -> list[RenderableType]:
        head = Text(f"{self._totals.ended:,} of {self._totals.watches:,} ended", style="bold")
        return [*self._bars(), Text(), self._sum(head), self._trouble_line()]

    def _sum(self, head: Text, *, after: Text | None = None) -> Text:
        counts = counts_line(self._totals.counts)
        watched = Text(format_span(max(0.0, -self._until(self._since))), style="dim")
        parts = (head, counts, after, watched)
        return Text(" · ", style="dim").join(part for part in parts if part)

    def _bars(self) -> list[RenderableType]:
        size = self._console.size
        shown = busiest(list(self._tracks.values()), max(1, size.height - self._other_lines()))
        now = self._now()
        rows = [track.row(now) for track in shown]
        lines = self._tables(rows, size.width)
        if (hidden := len(self._tracks) - len(shown)) > 0:
            everything = self._totals.statuses + self._totals.message_statuses
            statuses = everything - Counter(status_of(track.watch) for track in shown)
            lines.append(
                Text(f"and {hidden:,} more: ", style="dim", no_wrap=True, overflow="ellipsis")
                + statuses_line(statuses)
            )
        details = detail_lines(rows, self._names)
        if details and len(rows) + len(details) < size.height - self._other_lines():
            lines += [Text(), *details]
        if explained := breakdown_lines(rows, self._names):
            lines += [Text(), *explained]
        return lines

    def _tables(self, rows: Sequence[WatchRow], width: int) -> list[RenderableType]:
        operations = [row for row in rows if row.resource_type is ResourceType.OPERATION]
        messages = [row for row in rows if row.resource_type is ResourceType.MESSAGE]
        tables: list[RenderableType] = []
        if operations:
            tables.append(make_table(operations, self._names, width=width))
        if operations and messages:
            tables.append(Text())
        if messages:
            tables.append(make_message_table(messages, self._names, width=width))
        return tables

    def _other_lines(self) -> int:
        totals = self._totals
        has_both = bool(totals.operations and totals.messages)
        explained = sum(track.breakdown is not None for track in self._tracks.values())
        room = min(explained + 1, _MOST_EXPLAINED) if explained > 1 else explained * _ONE_EXPLAINED
        return _OTHER_LINES + has_both * _SECOND_TABLE + room

    def _trouble_line(self) -> Text:
        """Write the current trouble, or an empty line, so that the view does not jump."""
        trouble = self._trouble
        if trouble is None:
            return Text()
        line = Text(f"! {trouble.what}", style="yellow")
        if trouble.until is not None and (wait := self._until(trouble.until)) > 0:
            line.append(f" · next request in {format_span(wait)}", style="bold")
        return line

    def _until(self, instant: datetime) -> float:
        return (instant - self._now()).total_seconds()
