"""How events look on a terminal: one aligned line for each, and text around them."""

import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from json import loads
from typing import Final

from anyio import to_thread
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from poller.cli.formatting import alert_text, breakdown_text, labels_text, message_text, shortened
from poller.comms.kinds import kind_named
from poller.sinks.base import OutgoingEvent
from poller.sinks.stdout import LineMaker, json_line
from poller.text import printable
from poller.tracking.event import Event, read_event
from poller.tracking.progress import read_progress
from poller.tracking.watch import ResourceType

LABEL: Final = "campaign"
"""The label whose value the demo shows in place of an operation's id."""

_STYLES: Final = {
    "scheduled": "blue",
    "processing": "cyan",
    "completed": "bold green",
    "delivered": "bold green",
    "read": "bold green",
    "inbound": "bold green",
    "canceled": "bold yellow",
    "breakdown": "yellow",
    "alert": "bold red",
    "undelivered": "bold red",
    "failed": "bold red",
    "lost": "bold red",
}
# Counters of final results; the others count recipients that are still in progress. What did not
# arrive comes first, so that a narrow screen shows it.
_OUTCOMES: Final = {
    "failed": "red",
    "undelivered": "red",
    "unaddressable": "red",
    "canceled": "yellow",
    "delivered": "green",
    "read": "green",
    "opened": "green",
}
_PLAIN: Final = str.maketrans({"→": ">", "×": "x", "…": "~"})
"""ASCII replacements for the symbols in an event's line."""
_MORE: Final = " …"
_NAME: Final = 6
_SHORT_ID: Final = 7
"""Columns for an ellipsis and the last 6 characters, which are random."""
_WHOLE_ID: Final = 42
_TYPE: Final = 10
_DONE: Final = 7
_BAR: Final = 6
_WIDE_BAR: Final = 20
_NARROW: Final = 80
"""Columns that a line with the shorter bar needs."""
_WIDE: Final = 120
"""Columns that a line with a whole id needs."""


class Screen:
    """Writes styled text to a descriptor; in colour only on a terminal that supports it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        # rich only renders; `write` writes: so a terminal that hangs up raises OSError there, and
        # leaves no half-flushed buffer for the exit
        self._console = Console(stderr=fd == 2, highlight=False, emoji=False, markup=False)  # noqa: PLR2004

    @property
    def width(self) -> int:
        """The number of columns."""
        return self._console.width

    @property
    def is_plain(self) -> bool:
        """Whether only ASCII can be shown."""
        return self._console.options.ascii_only

    def rendered(self, text: Text, *, whole: bool = True) -> bytes:
        """Return a text and a newline, styled and encoded for the terminal; see `write`."""
        with self._console.capture() as capture:
            if whole:
                self._console.print(text, soft_wrap=True)
            else:
                self._console.print(text, no_wrap=True, overflow="ellipsis")
        return capture.get().encode(self._console.encoding, errors="replace")

    def write(self, text: Text, *, whole: bool = True) -> None:
        """Write a text and a newline; blocks. A line that does not fit is cut, unless `whole`.

        :raises OSError: where the terminal has gone.
        """
        data = self.rendered(text, whole=whole)
        while data:
            data = data[os.write(self._fd, data) :]

    async def say(self, text: Text) -> None:
        """Write a text for people; that the terminal has gone is not an error."""
        with suppress(OSError):
            await to_thread.run_sync(self.write, text, abandon_on_cancel=True)


def line_maker(screen: Screen, *, begun: datetime | None = None) -> LineMaker:
    """Return the function that renders an event's line for a screen; see `event_line`."""

    def line(outgoing: OutgoingEvent) -> bytes:
        try:
            event = read_event(loads(outgoing.body))
            text = event_line(event, begun=begun, width=screen.width, plain=screen.is_plain)
        except (LookupError, TypeError, ValueError):
            return json_line(outgoing)  # an event that another version has stored
        return screen.rendered(text, whole=False)

    return line


def event_line(event: Event, *, width: int, plain: bool, begun: datetime | None = None) -> Text:
    """Return one line for an event, for a screen of `width` columns.

    With `begun` (the demo) it shows the time since then, and the campaign's name in place of the
    id. Without, it shows the time in UTC, as much of the id as fits, and the labels at the end.
    """
    short = event.type.value.partition(".")[2]
    if begun is None:
        stamp = f"{event.time.astimezone(UTC):%H:%M:%S}Z"
        size = _WHOLE_ID if width >= _WIDE else _SHORT_ID
        name = shortened(event.subject, size)
        labels = event.labels
    else:
        stamp = _elapsed(event.time, begun)
        size = _NAME
        name = event.labels.get(LABEL, event.subject)
        labels = {}
    style = _STYLES.get(short, "")
    parts: list[tuple[str, str]] = []
    line = Text.assemble((stamp, "dim"), f"  {name:{size}}  ", (f"{short:{_TYPE}}", style), "  ")
    if event.alert is not None:
        line.append(alert_text(event.alert), style)
    elif event.type.resource_type is ResourceType.MESSAGE:
        line.append(message_text(event.snapshot, event.counters))
    elif event.breakdown is not None:
        line.append(breakdown_text(event.breakdown))
    else:
        room = 0 if begun is None else width - _NARROW
        _progress(line, event, style=style, room=room, plain=plain)
        parts += _changes(event)
    if event.reason is not None:
        parts.insert(0, (f" {event.reason.replace('_', ' ')}", style))
    for number, label in enumerate(labels.items()):
        parts.append((f"{' ' if number else '  '}{printable(labels_text(dict([label])))}", "dim"))
    _append_fitting(line, parts, width=width)
    if plain:
        line.plain = line.plain.translate(_PLAIN)
    return line


def _progress(line: Text, event: Event, *, style: str, room: int, plain: bool) -> None:
    """Append a progress bar, and the numbers that it shows."""
    if event.kind is None:
        members = event.data["operations"]
        done, total = members["total"] - members["watching"], members["total"]
    else:
        progress = read_progress(kind_named(event.kind), event.counters)
        done, total = progress.done, progress.total or 0
    bar = _bar(done, total, min(_BAR + max(0, room), _WIDE_BAR), plain=plain)
    line.append(bar, style).append(f" {f'{done}/{total}':>{_DONE}} ")


def _changes(event: Event) -> list[tuple[str, str]]:
    """Return how much each counter of final results has changed, with its style."""
    return [
        (f" {change:+d} {counter}", colour)
        for counter, colour in _OUTCOMES.items()
        if (change := event.delta.get(counter))
    ]


def _append_fitting(line: Text, parts: Sequence[tuple[str, str]], *, width: int) -> None:
    """Append the parts that fit, whole and in order; an ellipsis stands for the others."""
    for number, (part, style) in enumerate(parts, start=1):
        reserved = len(_MORE) if number < len(parts) else 0
        if line.cell_len + cell_len(part) + reserved > width:
            line.append(_MORE)
            return
        line.append(part, style)


def _bar(done: int, total: int, cells: int, *, plain: bool) -> str:
    full = cells * done // total if total else 0
    return ("#" if plain else "█") * full + ("." if plain else "░") * (cells - full)


def _elapsed(time: datetime, begun: datetime) -> str:
    minutes, seconds = divmod(max(0, int((time - begun).total_seconds())), 60)
    return f"{minutes}:{seconds:02d}"
