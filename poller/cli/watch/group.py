"""`poller watch --group NAME`: the feed of a group, from its daemon, and its view."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

import anyio
import structlog
from anyio.abc import ObjectSendStream
from rich.console import Console, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from poller.cli.formatting import format_span, labels_text
from poller.cli.watch.followed import Followed
from poller.cli.watch.news import GroupUpdate, News, Trouble
from poller.cli.watch.painter import Painter
from poller.cli.watch.rows import Track, short_names
from poller.cli.watch.table import counts_line, format_rate, make_message_table, make_table
from poller.comms.errors import Fault
from poller.control.client import ControlClient
from poller.control.errors import ControlError, Refused
from poller.server.documents import GroupDocument, OperationDocument
from poller.text import counted, printable
from poller.tracking.event import read_emitted
from poller.tracking.registration import Registration, register
from poller.tracking.watch import AccountScope, ResourceType, Watch

log = structlog.get_logger()

_GONE: Final = 410
_NOT_FOUND: Final = 404
_OTHER_LINES: Final = 9
"""Lines other than members: the group, its counts, headings, gaps, trouble and the cursor."""
_NOT_REACHED: Final = ("failed", "undelivered", "unaddressable", "canceled")


class GroupFollower:
    """Sends the news of one group until it has ended.

    With a number `shown` it sends, every `interval` seconds, the document of the group and those
    of that many members, watched ones first. With None it sends the events of the group and of its
    members, from the oldest kept. It waits for a daemon that does not answer. The caller closes
    `client`.
    """

    def __init__(
        self, name: str, *, client: ControlClient, shown: int | None, interval: float = 1.0
    ) -> None:
        self._name = name
        self._client = client
        self._shown = shown
        self._interval = interval
        self._last_id: str | None = None
        self._sequences: dict[str, int] = {}
        self._trouble: Trouble | None = None

    async def run(self, news: ObjectSendStream[News]) -> None:
        """Send news until the group has ended; a receiver that has gone ends it too."""
        self._news = news
        read = self._read_documents if self._shown is not None else self._read_stream
        async with news:
            try:
                while not await self._attempt(read):  # noqa: ASYNC110 - this polls a daemon
                    await anyio.sleep(self._interval)
            except anyio.BrokenResourceError:
                return

    async def _attempt(self, read: Callable[[], Awaitable[bool]]) -> bool:
        """Read once, and send trouble when it begins and ends; True when all was sent."""
        trouble = None
        try:
            return await read()
        except ControlError as error:
            is_unknown = isinstance(error, Refused) and error.status == _NOT_FOUND
            trouble = Trouble(what=str(error), fault=Fault.NETWORK, fatal=is_unknown)
            return is_unknown
        finally:
            if trouble != self._trouble:
                self._trouble = trouble
                if trouble is not None:
                    log.warning("watch.trouble", error=trouble.what, fault=trouble.fault.value)
                await self._news.send(trouble)

    async def _read_documents(self) -> bool:
        group = await self._client.group(self._name)
        members: list[OperationDocument] = []
        for phases in (("active", "settling", "explaining"), ("ended",)):
            left = (self._shown or 0) - len(members)
            filters = [("group", self._name), *(("phase", phase) for phase in phases)]
            if left > 0:
                members += [one async for one in self._client.operations(filters, limit=left)]
        await self._news.send(GroupUpdate(group=group, members=members))
        return group["state"] == "ended"

    async def _read_stream(self) -> bool:
        group = await self._client.group(self._name)
        if group["pruned"]:
            await self._news.send(GroupUpdate(group=group))
            return True
        stream = self._client.events(
            groups=[self._name], after=self._last_id, from_oldest=self._last_id is None
        )
        try:
            async with stream as messages:
                async for message in messages:
                    if message.event == "error":
                        self._last_id = None
                        return False
                    if await self._receive(message.data):
                        return True
                    self._last_id = message.id or self._last_id
        except Refused as error:
            if error.status != _GONE:
                raise
            self._last_id = None
        return False

    async def _receive(self, body: str) -> bool:
        try:
            event = read_emitted(body)
        except ValueError as error:
            log.warning("watch.unreadable", error=str(error))
            return False
        if event.sequence <= self._sequences.get(event.subject, 0):
            return False
        self._sequences[event.subject] = event.sequence
        is_end = event.is_of_group and event.final
        group = await self._client.group(self._name) if is_end else None
        await self._news.send(GroupUpdate(group=group, events=(event,)))
        return is_end


def is_well(group: GroupDocument) -> bool:
    """Return whether it has ended, all members completed, and no recipient failed."""
    members = group["operations"]
    is_whole = group["state"] == "ended" and members["completed"] == members["total"]
    return is_whole and not group["progress"]["failed"]


class GroupView:
    """Shows a group and its members on a terminal."""

    def __init__(
        self, name: str, *, scope: AccountScope, console: Console, now: Callable[[], datetime]
    ) -> None:
        self._name = name
        self._scope = scope
        self._console = console
        self._now = now
        self._group: GroupDocument | None = None
        self._members: Mapping[str, Followed] = {}
        self._trouble: Trouble | None = None
        self._painter = Painter(console, self._picture)

    async def show(self, news: Sequence[News]) -> None:
        """Store news; the next picture shows them."""
        for item in news:
            if isinstance(item, GroupUpdate):
                self._group = item.group or self._group
                self._members = {one["id"]: self._follow(one) for one in item.members}
            elif item is None or isinstance(item, Trouble):
                self._trouble = item
        self._painter.changed()

    async def run(self) -> None:
        """Paint until cancelled."""
        await self._painter.run()

    async def close(self, ending: str) -> None:
        """Leave the last picture on the screen, with the reason `ending` unless it is empty."""
        picture = self._picture() if not (self._trouble and self._trouble.fatal) else []
        if ending:
            picture.append(Text(ending, style="bold"))
        self._painter.leave(picture)

    def _follow(self, document: OperationDocument) -> Followed:
        known = self._members.get(document["id"])
        if known is None:
            wanted = Registration(id=document["id"], kind=document["kind"])
            watch, _ = register(None, wanted, scope=self._scope, now=self._now())
            known = Followed(watch=watch)
        return known.after_document(document)

    def _picture(self) -> list[RenderableType]:
        lines: list[RenderableType] = []
        if self._group is not None:
            watches = [one.watch for one in self._members.values()]
            lines = draw_group(self._group, watches, now=self._now(), width=self._console.width)
        if self._trouble is not None:
            lines.append(Text(f"! {self._trouble.what}", style="yellow"))
        return lines


def draw_group(
    group: GroupDocument, members: Sequence[Watch], *, now: datetime, width: int
) -> list[RenderableType]:
    """Draw the bar of a group, its counts, and a table of some of its members."""
    counts, progress = group["operations"], group["progress"]
    total = "?" if progress["total"] is None else f"{progress['total']:,}"
    share = progress["done"] / progress["total"] if progress["total"] else 0.0
    numbers = [f"{progress['done']:,}/{total}"]
    if (rate := progress["perSecond"]) is not None:
        numbers.append(format_rate(rate))
    if (left := progress["secondsLeft"]) is not None:
        numbers.append(f"{format_span(left)} left")
    bar = Table.grid(padding=(0, 2), expand=True)
    bar.add_column(no_wrap=True)
    bar.add_column(ratio=1)
    bar.add_column(no_wrap=True)
    bar.add_row(
        Text(group["state"]),
        ProgressBar(total=1.0, completed=min(share, 1.0), complete_style="cyan"),
        Text("  ".join(numbers)),
    )
    ended = counts["total"] - counts["watching"]
    expected = group["expected"]
    of = counts["total"] if expected is None else max(expected, counts["total"])
    stages = progress["stages"]
    failed = {name: stages.get(name, 0) for name in _NOT_REACHED}
    reached = {"delivered": progress["done"] - sum(failed.values())}
    lines: list[RenderableType] = [
        Text(f"group {group['name']}", style="bold", overflow="ellipsis", no_wrap=True),
        bar,
        Text(" · ", style="dim").join(
            part
            for part in (
                Text(f"{ended:,} of {counted(of, 'operation')} ended", style="bold"),
                counts_line(Counter({**reached, **failed})),
                Text(printable(labels_text(group["labels"])), style="dim"),
            )
            if part
        ),
        Text(),
    ]
    names = short_names([watch.id for watch in members])
    rows = [Track(watch=watch).row(now) for watch in members]
    for resource_type, make in (
        (ResourceType.OPERATION, make_table),
        (ResourceType.MESSAGE, make_message_table),
    ):
        if chosen := [row for row in rows if row.resource_type is resource_type]:
            lines.append(make(chosen, names, width=width))
    if (more := counts["total"] - len(members)) > 0:
        lines.append(Text(f"and {more:,} more", style="dim"))
    return lines


def room_for_members(console: Console) -> int:
    """Return how many members fit on the terminal."""
    return max(1, console.size.height - _OTHER_LINES)
