"""`poller watch`: operations live until they end, as bars or as lines. Registers nothing."""

import signal
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Final, Protocol

import anyio
import typer
from anyio.abc import TaskStatus
from anyio.streams.memory import MemoryObjectReceiveStream
from structlog import DropEvent

from poller.cli.failures import EXIT_TIMEOUT, EXIT_TROUBLE, EXIT_UNFINISHED, fail
from poller.cli.logs import configure_logs
from poller.cli.options import (
    DEFAULT_KIND_NAME,
    Config,
    Ids,
    Json,
    KindName,
    Labels,
    Overrides,
    Timeout,
    Url,
    Version,
    defaults_of,
    group_named,
    registrations,
    timeout_seconds,
)
from poller.cli.session import Target
from poller.cli.watch.lines import Lines
from poller.cli.watch.news import Feed, GroupUpdate, News, Update
from poller.cli.watch.rows import all_is_well
from poller.cli.watch.source import open_feed
from poller.clock import wall_clock
from poller.control.client import ControlClient
from poller.server.documents import GroupDocument
from poller.settings import Settings, SettingsLoader
from poller.tracking.registration import Registration, register
from poller.tracking.watch import AccountScope, Watch

if TYPE_CHECKING:
    from rich.console import Console


def command(
    ids: Ids = None,
    group: Annotated[
        str | None,
        typer.Option(
            "--group",
            metavar="NAME",
            help="Watch this group of a running daemon, until it has ended.",
            show_default=False,
        ),
    ] = None,
    json_output: Json = False,
    timeout: Timeout = None,
    kind: KindName = DEFAULT_KIND_NAME,
    label: Labels = None,
    url: Url = None,
    config: Config = None,
    overrides: Overrides = None,
    _version: Version = False,
) -> int:
    """Watch operations and messages live until they end; registers nothing, needs no daemon.

    What a running daemon watches is read from that daemon; the rest is polled from the API. On
    a terminal it shows a bar per operation and the attempts of each message, else one event per
    line. With polling.breakdown it ends after the breakdown. With --group it shows a bar for the
    group and one for each member, until the group has ended; that needs the daemon. Exits with 0
    where all completed and no recipient failed, was undelivered or unaddressable (a failed
    attempt does not count where a fallback delivered); 3 where something ended otherwise; 4
    after --timeout; 1 where the credentials are refused; 130 after Ctrl-C.
    """
    if bool(ids) is (group is not None):
        raise typer.BadParameter("name operations and messages, or --group", param_hint="ID")
    loader, target = SettingsLoader(config, overrides), Target(url, config, overrides)
    seconds = timeout_seconds(timeout)
    if group is not None:
        name = group_named(group)
        return watch_group(loader, target, name, json_output=json_output, timeout=seconds)
    requested = registrations(ids or (), defaults_of(kind=kind, labels=label))
    return watch_operations(loader, target, requested, json_output=json_output, timeout=seconds)


_BUFFER: Final = 500
_SHOWN_AS_TROUBLE: Final = frozenset({"account.paused", "credentials.refused", "kind.paused"})
_OF_ONE_OPERATION: Final = frozenset({400, 404})


class _WatchEnd(Enum):
    """Why watching ended; the summary prints the value."""

    ENDED = ""
    TIMEOUT = "Time is up."
    INTERRUPTED = "Interrupted."
    TERMINATED = "Terminated."
    REFUSED = "Refused."
    CLOSED = "Closed."


_SIGNALS: Final[Mapping[signal.Signals, _WatchEnd]] = {
    signal.SIGINT: _WatchEnd.INTERRUPTED,
    signal.SIGTERM: _WatchEnd.TERMINATED,
}


_EXIT_CODES: Final[Mapping[_WatchEnd, int]] = {
    _WatchEnd.TIMEOUT: EXIT_TIMEOUT,
    _WatchEnd.REFUSED: EXIT_TROUBLE,
    # as a shell reports it for any program that ended so
    _WatchEnd.INTERRUPTED: 128 + signal.SIGINT,
    _WatchEnd.TERMINATED: 128 + signal.SIGTERM,
    _WatchEnd.CLOSED: 128 + signal.SIGPIPE,
}


class _Output(Protocol):
    """Shows the news: the live view, or lines of JSON."""

    async def show(self, news: Sequence[News]) -> None:
        """Show news; returns when that is done, and never if the reader has gone."""

    async def run(self) -> None:
        """Keep the view up to date; returns when the reader has gone."""

    async def close(self, ending: str) -> None:
        """Show the last state; `ending` says why it is the last, empty where all have ended."""


def watch_operations(
    loader: SettingsLoader,
    target: Target,
    requested: Sequence[Registration],
    *,
    json_output: bool,
    timeout: float | None,
) -> int:
    """Watch until all have ended, `timeout` seconds have passed or a signal stops it.

    Operations that a running daemon of `target` watches are read from that daemon.

    Returns the exit code: 0 where all completed and no recipient failed, was undelivered or
    unaddressable, 3 where something ended otherwise, 4 after the timeout, 1 where credentials
    were refused before any good answer, 128 + the signal's number after SIGINT (130), SIGTERM
    and where the reader of standard output has closed it (141).

    :raises SettingsError: where the settings cannot be used.
    :raises EgressError: where a proxy or certificate variable cannot be used.
    :raises BadAddress: where `--url` or POLLER_URL cannot be used.
    :raises SinkUnavailable: where standard output is closed.
    """
    settings, live = _prepare(loader, json_output=json_output)
    code, message = anyio.run(_watch, settings, loader, target, requested, live, timeout)
    if message is not None:
        fail(message, code)
    return code


def watch_group(
    loader: SettingsLoader,
    target: Target,
    name: str,
    *,
    json_output: bool,
    timeout: float | None,
) -> int:
    """Watch a group of a running daemon until it has ended; returns the exit code as above.

    :raises SettingsError: where the settings cannot be used.
    :raises ControlError: where no daemon answers, or it does not know the group.
    :raises SinkUnavailable: where standard output is closed.
    """
    settings, live = _prepare(loader, json_output=json_output)
    return anyio.run(_watch_group, settings, target, name, live, timeout)


def _prepare(loader: SettingsLoader, *, json_output: bool) -> tuple[Settings, bool]:
    """Return the settings, and whether to show a live view; configure the log for it."""
    settings = loader.load("api", "polling", "server", "log").settings
    live = not json_output and sys.stdout.isatty()
    # bars and log lines cannot share a terminal; the view has a line for trouble
    silent = live and sys.stderr.isatty()
    level = "critical" if silent else settings.log.level
    only = None if level == "debug" else _without_daemon_lines
    configure_logs(level=level, form=settings.log.format, only=only)
    return settings, live


def _without_daemon_lines(_: object, method: str, fields: MutableMapping[str, Any]) -> Any:  # noqa: ANN401 - as structlog has it
    """Drop log lines of the embedded daemon that only repeat an event or `watch.trouble`."""
    event = str(fields["event"])
    is_own = event.startswith("watch.")
    # 400 and 404 concern one operation, so `watch.trouble` does not report them
    is_repeated = event in _SHOWN_AS_TROUBLE or (
        event == "poll.failed" and fields.get("http_status") not in _OF_ONE_OPERATION
    )
    if not is_own and (method in {"debug", "info"} or is_repeated):
        raise DropEvent
    return fields


async def _watch(
    settings: Settings,
    loader: SettingsLoader,
    target: Target,
    requested: Sequence[Registration],
    live: bool,
    seconds: float | None,
) -> tuple[int, str | None]:
    """Return the exit code, and the error message if there is one."""
    watches = _begin(settings, requested)
    async with open_feed(settings, loader, target, watches, live=live) as feed:
        output = _screen(watches) if live else await Lines.open()
        viewing = _Viewing(feed, output, watches)
        end = await viewing.run(seconds)
    if end is _WatchEnd.ENDED:
        return 0 if all_is_well(viewing.watches.values()) else EXIT_UNFINISHED, None
    return _EXIT_CODES[end], viewing.refusal if end is _WatchEnd.REFUSED else None


async def _watch_group(
    settings: Settings, target: Target, name: str, live: bool, seconds: float | None
) -> int:
    # imported here: most commands need none of it
    from poller.cli.watch.group import (  # noqa: PLC0415
        GroupFollower,
        GroupView,
        is_well,
        room_for_members,
    )

    address = target.address(settings.server)
    console = _console()
    async with ControlClient(address, token=settings.server.token) as client:
        await client.group(name)  # a wrong name or address is an error, later ones are trouble
        shown = room_for_members(console) if live else None
        scope = AccountScope(account=settings.account, base_url=settings.api.base_url)
        output: _Output = (
            GroupView(name, scope=scope, console=console, now=wall_clock)
            if live
            else await Lines.open()
        )
        viewing = _Viewing(GroupFollower(name, client=client, shown=shown), output, ())
        end = await viewing.run(seconds)
    if end is _WatchEnd.ENDED and viewing.group is not None:
        return 0 if is_well(viewing.group) else EXIT_UNFINISHED
    if end is _WatchEnd.REFUSED:
        fail(viewing.refusal or "", EXIT_TROUBLE)
    return _EXIT_CODES.get(end, EXIT_TROUBLE)


def _begin(settings: Settings, requested: Sequence[Registration]) -> Sequence[Watch]:
    """Make a watch of each registration; an id that is named twice is watched once."""
    now = wall_clock()
    scope = AccountScope(account=settings.account, base_url=settings.api.base_url)
    once = {registration.id: registration for registration in requested}
    return [register(None, one, scope=scope, now=now)[0] for one in once.values()]


def _screen(watches: Sequence[Watch]) -> _Output:
    # imported here: lines need none of it
    from poller.cli.watch.view import LiveView  # noqa: PLC0415

    return LiveView(watches, console=_console(), now=wall_clock)


def _console() -> "Console":
    # imported here, as above
    from rich.console import Console  # noqa: PLC0415

    return Console()


class _Viewing:
    """Shows the news of a feed until it ends or is stopped; `watches` are the latest states."""

    def __init__(self, feed: Feed, output: _Output, watches: Sequence[Watch]) -> None:
        self.watches = {watch.id: watch for watch in watches}
        self.group: GroupDocument | None = None
        self.refusal: str | None = None
        self._feed = feed
        self._output = output
        self._end: _WatchEnd | None = None

    async def run(self, seconds: float | None) -> _WatchEnd:
        """View until the feed ends, for at most `seconds`; returns what ended it."""
        send, receive = anyio.create_memory_object_stream[News](_BUFFER)
        try:
            async with receive, send, anyio.create_task_group() as tasks:
                self._tasks = tasks
                await tasks.start(self._obey_signals)
                tasks.start_soon(self._run_output)
                tasks.start_soon(self._feed.run, send)
                if seconds is not None:
                    tasks.start_soon(self._time_out, seconds)
                await self._show_all(receive)
                self._stop(_WatchEnd.REFUSED if self.refusal else _WatchEnd.ENDED)
        finally:
            end = self._end or _WatchEnd.ENDED
            await self._output.close(end.value)
        return end

    async def _show_all(self, receive: MemoryObjectReceiveStream[News]) -> None:
        async for first in receive:
            news = [first]
            with suppress(anyio.WouldBlock, anyio.EndOfStream):
                while len(news) < _BUFFER:
                    news.append(receive.receive_nowait())
            for item in news:
                if isinstance(item, Update):
                    self.watches[item.watch.id] = item.watch
                elif isinstance(item, GroupUpdate):
                    self.group = item.group or self.group
                elif item is not None and item.fatal:
                    self.refusal = item.what
            await self._output.show(news)

    async def _obey_signals(
        self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        with anyio.open_signal_receiver(*_SIGNALS) as received:
            task_status.started()
            async for number in received:
                self._stop(_SIGNALS[number])

    async def _run_output(self) -> None:
        await self._output.run()
        self._stop(_WatchEnd.CLOSED)

    async def _time_out(self, seconds: float) -> None:
        await anyio.sleep(seconds)
        self._stop(_WatchEnd.TIMEOUT)

    def _stop(self, end: _WatchEnd) -> None:
        """Stop everything; the first reason counts."""
        self._end = self._end or end
        self._tasks.cancel_scope.cancel()
