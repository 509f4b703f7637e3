"""Renders rows as Rich tables and lines. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from poller.cli.formatting import format_span, shortened
from poller.cli.watch.rows import WatchRow

_ALWAYS: Final = ("delivered", "undelivered", "failed")
_WIDEST: Final = 140
# Columns of the table that are left out when the terminal is narrower than this.
_ROOM_FOR_COUNTS: Final = 64
_ROOM_FOR_RATE: Final = 76
_ROOM_FOR_REST: Final = 96
# The bar, the status and the "done" column, with gaps.
_ROOM_OF_OTHERS: Final = 37
_ROOM_OF_A_NUMBER: Final = 9
_ROOM_OF_ATTEMPTS: Final = 90
_RANDOM_PART: Final = 27
"""Columns for an ellipsis and the 26 characters of an id that differ from another."""

_STATUS_STYLES: Final[Mapping[str, str]] = {
    "waiting": "dim",
    "scheduled": "blue",
    "processing": "cyan",
    "settling": "cyan",
    "explaining": "cyan",
    "queued": "cyan",
    "sent": "cyan",
    "group": "cyan",
    "completed": "green",
    "delivered": "green",
    "read": "green",
    "inbound": "green",
    "canceled": "yellow",
    "not found": "yellow",
    "undelivered": "red",
    "failed": "red",
    "lost": "red",
}
_COUNT_STYLES: Final[Mapping[str, str]] = {
    "delivered": "green",
    "sent": "green",
    "failed": "red",
    "undelivered": "yellow",
    "unaddressable": "yellow",
    "canceled": "yellow",
}
_BAR_STYLES: Final[Mapping[str, str]] = {
    "completed": "green",
    "explaining": "green",
    "canceled": "yellow",
    "lost": "red",
}
_MOST_BREAKDOWNS: Final = 5
_MINUTE: Final = 60
_FAST: Final = 10
_SLOW: Final = 0.1


def make_table(rows: Sequence[WatchRow], names: Mapping[str, str], *, width: int) -> Table:
    """Draw a line for each operation, `width` columns wide; `names` are the short ids."""
    columns = _count_columns(rows, width)
    headings = [*(_heading(name, width) for name in columns), *_times(width)]
    taken = _ROOM_OF_OTHERS + sum(max(_ROOM_OF_A_NUMBER, len(one) + 2) for one in headings)
    room = min(width, _WIDEST) - taken
    table = Table(
        Column("operation", no_wrap=True),
        Column("status", no_wrap=True),
        Column("", ratio=1),
        Column("done", justify="right", no_wrap=True),
        *(Column(_heading(name, width), justify="right", no_wrap=True) for name in columns),
        *(Column(name, justify="right", no_wrap=True) for name in _times(width)),
        **_layout(width),
    )
    for row in rows:
        table.add_row(
            Text(_name(row.id, names, room)),
            _status(row),
            _bar(row),
            _done(row),
            *(_count(name, row.counts.get(name, 0)) for name in columns),
            *(_time(row, name) for name in _times(width)),
        )
    return table


def make_message_table(rows: Sequence[WatchRow], names: Mapping[str, str], *, width: int) -> Table:
    """Draw a line for each message: its status and its attempts."""
    table = Table(
        Column("message", no_wrap=True),
        Column("status", no_wrap=True),
        Column("attempts", ratio=1, no_wrap=True, overflow="ellipsis"),
        **_layout(width),
    )
    room = min(width, _WIDEST) - _ROOM_OF_ATTEMPTS
    for row in rows:
        table.add_row(Text(_name(row.id, names, room)), _status(row), Text(row.attempts))
    return table


def detail_lines(rows: Sequence[WatchRow], names: Mapping[str, str]) -> list[Text]:
    """Write when each was polled, its group and its labels; no line if it has none of these."""
    lines = []
    for row in rows:
        group = "" if row.group is None else f"group {row.group}"
        if parts := [part for part in (_polled(row), group, row.labels) if part]:
            text = f"{names[row.id]}  {'  '.join(parts)}"
            lines.append(Text(text, style="dim", no_wrap=True, overflow="ellipsis"))
    return lines


def breakdown_lines(rows: Sequence[WatchRow], names: Mapping[str, str]) -> list[Text]:
    """Write each operation's breakdown; if there are many, only the first few."""
    explained = [row for row in rows if row.breakdown is not None]
    lines = [
        # a single one may wrap
        Text(
            f"{names[row.id]}  {row.breakdown}",
            no_wrap=len(explained) > 1,
            overflow="ellipsis" if len(explained) > 1 else "fold",
        )
        for row in explained[:_MOST_BREAKDOWNS]
    ]
    if (more := len(explained) - len(lines)) > 0:
        lines.append(Text(f"and {more:,} more with failures", style="dim"))
    return lines


def counts_line(counts: Counter[str]) -> Text:
    """List the counts of recipients, without zeros: `1,180 delivered, 12 failed`."""
    parts = [
        Text(f"{count:,} {name}", style=_COUNT_STYLES[name])
        for name, count in counts.items()
        if count
    ]
    return Text(", ").join(parts)


def statuses_line(statuses: Counter[str]) -> Text:
    """Count by status: `2 completed, 1 canceled`."""
    parts = [
        Text(f"{count:,} {status}", style=_STATUS_STYLES.get(status, "magenta"))
        for status, count in statuses.most_common()
        if count
    ]
    return Text(", ").join(parts)


def format_rate(per_second: float) -> str:
    """Write a rate for people: `1,234/s`, `2.5/s`, below 0.1/s `4.0/min`."""
    if per_second >= _FAST:
        return f"{per_second:,.0f}/s"
    if per_second >= _SLOW or not per_second:
        return f"{per_second:.1f}/s"
    return f"{per_second * _MINUTE:.1f}/min"


def _name(watched: str, names: Mapping[str, str], room: int) -> str:
    """Return the longest form of an id that fits: all of it, its random part, or its short name."""
    if len(watched) <= room:
        return watched
    return shortened(watched, _RANDOM_PART) if room >= _RANDOM_PART else names[watched]


def _polled(row: WatchRow) -> str:
    if row.polled is None:
        return ""
    upcoming = f"in {format_span(row.due)}" if row.due >= 1 else "now"
    return f"polled {format_span(row.polled)} ago, next {upcoming}"


def _layout(width: int) -> dict[str, Any]:
    return {
        "box": None,
        "pad_edge": False,
        "padding": (0, 1, 0, 0) if width < _ROOM_FOR_REST else (0, 2, 0, 0),
        "width": min(width, _WIDEST),
        "header_style": "dim",
    }


def summary_line(name: str, statuses: Counter[str]) -> Text:
    """Count watches by status: `2 messages: 1 delivered, 1 failed`; empty if there are none.

    `name` is the singular.
    """
    if not (number := statuses.total()):
        return Text()
    return Text(f"{number:,} {name}{'s'[: number != 1]}: ", style="bold") + statuses_line(statuses)


def _count_columns(rows: Sequence[WatchRow], width: int) -> list[str]:
    if width < _ROOM_FOR_COUNTS:
        return ["failed"]
    rare = [
        name for row in rows for name, count in row.counts.items() if count and name not in _ALWAYS
    ]
    return [*_ALWAYS, *dict.fromkeys(rare)] if width >= _ROOM_FOR_REST else list(_ALWAYS)


def _heading(name: str, width: int) -> str:
    return {"undelivered": "undeliv."}.get(name, name) if width < _ROOM_FOR_REST else name


def _times(width: int) -> tuple[str, ...]:
    return ("rate", "left") if width >= _ROOM_FOR_RATE else ("left",)


def _status(row: WatchRow) -> Text:
    text = f"{row.status}: {row.reason}" if row.reason else row.status
    return Text(text.replace("_", " "), style=_STATUS_STYLES.get(row.status, "magenta"))


def _bar(row: WatchRow) -> ProgressBar:
    style = _BAR_STYLES.get(row.status, "cyan")
    return ProgressBar(
        total=1.0, completed=row.share, complete_style=style, finished_style=style, style="grey30"
    )


def _done(row: WatchRow) -> Text:
    if row.total is None:
        return Text(f"{row.done:,}" if row.done else "–", style="dim")
    return Text(f"{row.done:,}/{row.total:,}")


def _count(name: str, count: int) -> Text:
    return Text(f"{count:,}", style=_COUNT_STYLES[name] if count else "dim")


def _time(row: WatchRow, name: str) -> str:
    if name == "rate":
        return "" if row.rate is None else format_rate(row.rate)
    return "" if row.left is None else format_span(row.left)
