"""What the demo shows on a terminal: prose, and one aligned line for each event."""

import os
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import datetime
from json import loads
from typing import Final

from anyio import to_thread
from rich.console import Console
from rich.text import Text

from poller.cli.summary import breakdown_text, message_text
from poller.comms.kinds import kind_named
from poller.sinks.base import OutgoingEvent, SinkOutcome, SinkVerdict
from poller.tracking.event import Event, read_event
from poller.tracking.progress import read_progress
from poller.tracking.watch import ResourceType

__all__ = ["LABEL", "Screen", "TerminalSink", "event_line"]

LABEL: Final = "campaign"
"""The label whose value names an operation on the screen."""

_STYLES: Final = {
    "scheduled": "blue",
    "processing": "cyan",
    "completed": "bold green",
    "delivered": "bold green",
    "read": "bold green",
    "inbound": "bold green",
    "canceled": "bold yellow",
    "breakdown": "yellow",
    "undelivered": "bold red",
    "failed": "bold red",
    "lost": "bold red",
}
# What became of recipients; the other counters say where they are on the way.
_OUTCOMES: Final = {
    "delivered": "green",
    "read": "green",
    "opened": "green",
    "failed": "red",
    "undelivered": "red",
    "unaddressable": "red",
    "canceled": "yellow",
}
_PLAIN: Final = str.maketrans({"→": ">", "×": "x", "…": "~"})
"""What ASCII has in place of the signs of a story."""
_NAME: Final = 6
_TYPE: Final = 10
_DONE: Final = 7
_BAR: Final = 6
_WIDE_BAR: Final = 20
_NARROW: Final = 80
"""Columns that suffice for a line with the shorter bar."""


class Screen:
    """A descriptor that people look at; colours only where it is a terminal that has them."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        # rich looks at the stream, but what it makes of a text is written here: a terminal that
        # hangs up is an error like any other then, and never a half-flushed buffer at the exit
        self._console = Console(stderr=fd == 2, highlight=False, emoji=False, markup=False)  # noqa: PLR2004

    @property
    def width(self) -> int:
        """How many columns there are."""
        return self._console.width

    @property
    def is_plain(self) -> bool:
        """Whether only ASCII can be shown."""
        return self._console.options.ascii_only

    def write(self, text: Text, *, whole: bool = True) -> None:
        """Write a text and a newline; blocks. A line that does not fit is cut, unless `whole`.

        :raises OSError: where nobody is there any more.
        """
        with self._console.capture() as capture:
            if whole:
                self._console.print(text, soft_wrap=True)
            else:
                self._console.print(text, no_wrap=True, overflow="ellipsis")
        data = capture.get().encode(self._console.encoding, errors="replace")
        while data:
            data = data[os.write(self._fd, data) :]

    async def say(self, text: Text) -> None:
        """Write prose; nobody being there to read it is no error."""
        with suppress(OSError):
            await to_thread.run_sync(self.write, text, abandon_on_cancel=True)


class TerminalSink:
    """Events as lines on a screen. `begun` is the instant that the lines count their time from."""

    name = "terminal"
    concurrency = 1
    batch_size = 1
    deadline = 60.0

    def __init__(self, screen: Screen, *, begun: datetime) -> None:
        self._screen = screen
        self._begun = begun

    async def start(self) -> None:
        """Nothing to take: the screen is there."""

    async def recall(self, event_ids: Collection[str]) -> frozenset[str]:  # noqa: ARG002 - the protocol's
        """Nothing: what has scrolled by cannot be asked for."""
        return frozenset()

    async def deliver(self, batch: Sequence[OutgoingEvent]) -> Sequence[SinkOutcome]:
        """Show each event."""
        return [await self._show(outgoing) for outgoing in batch]

    async def reopen(self) -> None:
        """Nothing to do: the screen was given to us."""

    async def aclose(self) -> None:
        """Nothing to release."""

    async def _show(self, outgoing: OutgoingEvent) -> SinkOutcome:
        event = read_event(loads(outgoing.body))
        screen = self._screen
        line = event_line(event, begun=self._begun, width=screen.width, plain=screen.is_plain)
        try:
            # a terminal that was stopped (Ctrl-S) must not keep Ctrl-C waiting
            await to_thread.run_sync(
                lambda: screen.write(line, whole=False), abandon_on_cancel=True
            )
        except OSError as error:
            return SinkOutcome(
                verdict=SinkVerdict.CLOSED, error=f"the terminal is gone: {error.strerror}"
            )
        return SinkOutcome(verdict=SinkVerdict.DELIVERED)


def event_line(event: Event, *, begun: datetime, width: int, plain: bool) -> Text:
    """Return one line for an event, made for so many columns."""
    short = event.type.value.partition(".")[2]
    name = event.labels.get(LABEL, event.subject)
    line = Text.assemble(
        (_elapsed(event.time, begun), "dim"),
        f"  {name:{_NAME}}  ",
        (f"{short:{_TYPE}}", _STYLES.get(short, "")),
        "  ",
    )
    if event.type.resource_type is ResourceType.MESSAGE:
        return _told(line, message_text(event.snapshot, event.counters), plain=plain)
    if event.breakdown is not None:
        return _told(line, breakdown_text(event.breakdown), plain=plain)
    _progress(line, event, style=_STYLES.get(short, ""), width=width, plain=plain)
    return line


def _told(line: Text, story: str, *, plain: bool) -> Text:
    return line.append(story.translate(_PLAIN) if plain else story)


def _progress(line: Text, event: Event, *, style: str, width: int, plain: bool) -> None:
    """Draw how far an operation or group is, and tell which recipients it came to an end with."""
    if event.kind is None:
        members = event.data["operations"]
        done, total = members["total"] - members["watching"], members["total"]
    else:
        progress = read_progress(kind_named(event.kind), event.counters)
        done, total = progress.done, progress.total or 0
    bar = _bar(done, total, min(_BAR + max(0, width - _NARROW), _WIDE_BAR), plain=plain)
    line.append(bar, style).append(f" {f'{done}/{total}':>{_DONE}} ")
    for counter, colour in _OUTCOMES.items():
        if change := event.delta.get(counter):
            line.append(f" {change:+d} {counter}", colour)


def _bar(done: int, total: int, cells: int, *, plain: bool) -> str:
    full = cells * done // total if total else 0
    return ("#" if plain else "█") * full + ("." if plain else "░") * (cells - full)


def _elapsed(time: datetime, begun: datetime) -> str:
    minutes, seconds = divmod(max(0, int((time - begun).total_seconds())), 60)
    return f"{minutes}:{seconds:02d}"
