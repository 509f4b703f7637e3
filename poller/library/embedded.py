"""The poller embedded in a program: the loops of the daemon in the caller's event loop."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Final, Self, TypeVar

import anyio
import sniffio

from poller.build import configuration
from poller.engine.configuration import Configuration
from poller.engine.daemon import Daemon
from poller.engine.event_feed import EventFeed
from poller.library.background import background
from poller.library.base import (
    LATEST,
    EventSelection,
    EventStream,
    WatchingApi,
    latest_final,
)
from poller.library.errors import NotWatched, PollerClosed
from poller.library.waiting import Ends
from poller.opening import STORE_GRACE, OpenedDaemon, open_daemon, open_listeners
from poller.server.documents import GroupDocument, OperationDocument
from poller.server.views import show_group, show_operation
from poller.settings import Settings, SettingsError, SettingsProblem, check_settings
from poller.store.errors import EventsGone, StoreUnavailable
from poller.store.events import StoredEvent
from poller.store.groups import UnknownGroup
from poller.store.store import Store
from poller.tracking.event import EmittedEvent
from poller.tracking.registration import Conflict, parse_registration
from poller.tracking.watch import Phase

Result = TypeVar("Result")

_RETRY_SECONDS: Final = 1.0
_HAS_ENDED: Final = frozenset({Phase.EXPLAINING, Phase.ENDED})
_GIVEN_TWICE: Final = "pass it as an argument, and remove it from settings"
_CLOSED: Final = "the poller has stopped"
_NOT_RUNNING: Final = "the poller is not running; use it within `async with`"


class Poller(WatchingApi):
    """A poller in the caller's event loop, while the body of `async with` runs.

    It is the daemon of `poller run`, with the same store and the same promises. It needs asyncio:
    the store waits for its database in threads that only asyncio wakes. It reads no settings from
    the environment, and has neither sinks nor a listener unless they are in `settings`. It sets up
    no log and no signal handler; its log lines go to the logger `poller` of the standard library,
    or through structlog if the program has configured that. A program may have several pollers;
    each needs a SQLite store of its own, while those of one account may share one in PostgreSQL.

    Leaving it stops in order: answers in flight are recorded, and due deliveries get
    `engine.shutdown_grace`. What remains is done when the store is opened again.
    """

    def __init__(
        self,
        *,
        store: str,
        account_sid: str | None = None,
        auth_token: str | None = None,
        api_key: str | None = None,
        api_secret: str | None = None,
        base_url: str = "https://comms.twilio.com/v1",
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Check the arguments; nothing is opened before `async with`.

        `store` is a URL such as `sqlite:///poller.db` or `postgresql://…`. `settings` are further
        tables as in `poller.toml`, such as `{"polling": {"settle": "5m"}}`, including `sinks` and
        `server.listen`, but not `log`.

        :raises SettingsError: with every problem that was found.
        """
        super().__init__(name="poller", not_open=_NOT_RUNNING)
        credentials = {
            "account_sid": account_sid,
            "auth_token": auth_token,
            "api_key": api_key,
            "api_secret": api_secret,
        }
        given = {name: value for name, value in credentials.items() if value is not None}
        self._settings = _settings(
            {"api": {**given, "base_url": base_url}, "store": {"url": store}}, settings or {}
        )
        self._has_sinks = bool((settings or {}).get("sinks"))
        self._opened: OpenedDaemon | None = None
        self._address: str | None = None

    async def __aenter__(self) -> Self:
        """Open the store and start.

        :raises StoreError: where the store cannot be used.
        :raises SinkUnavailable: where a sink cannot be started.
        :raises ListenError: where it cannot listen at an address.
        :raises EgressError: where a proxy or certificate variable cannot be used.
        """
        if (library := sniffio.current_async_library()) != "asyncio":
            raise RuntimeError(
                f"an embedded poller needs asyncio, not {library}; "
                "run `poller run` beside the program and use poller.connect"
            )
        return await super().__aenter__()

    @property
    def address(self) -> str | None:
        """The address of its control API, for `poller.connect`; None if it does not listen."""
        return self._address

    async def _forget(self, watched: str) -> None:
        if await self._daemon.forget(watched) is None:
            raise NotWatched(watched)

    async def _seal(self, group: str, expected: int | None) -> GroupDocument:
        try:
            sealed = await self._daemon.seal(group, expected)
        except UnknownGroup:
            raise NotWatched(group) from None
        return show_group(sealed, self._store.now())

    async def _operation(self, watched: str) -> OperationDocument:
        detail = await self._store.find_operation(watched, latest=0)
        if detail is None:
            raise NotWatched(watched)
        return show_operation(detail.watch)

    async def _group(self, name: str) -> GroupDocument:
        detail = await self._store.groups.find(name, latest=0)
        if detail is None:
            raise NotWatched(name)
        return show_group(detail.group, self._store.now())

    async def _register(self, document: Mapping[str, Any]) -> bool:
        (registered,) = await self._daemon.register([parse_registration(document)])
        if registered.watch is None:
            raise Conflict(registered.conflict or "")
        return registered.is_new

    async def _end_of(self, subject: str) -> EmittedEvent | None:
        if subject.startswith("comms_"):
            return await self._with_retries(partial(self._end_of_watch, subject))
        return await self._with_retries(partial(self._end_of_group, subject))

    async def _end_of_watch(self, watched: str) -> EmittedEvent | None:
        detail = await self._store.find_operation(watched, latest=LATEST)
        if detail is None or detail.watch.phase is Phase.FORGOTTEN:
            raise NotWatched(watched)
        if detail.watch.phase not in _HAS_ENDED:
            return None
        return _final(watched, detail.timeline.events)

    async def _end_of_group(self, name: str) -> EmittedEvent | None:
        detail = await self._store.groups.find(name, latest=LATEST)
        if detail is None:
            raise NotWatched(name)
        if detail.group.ended_at is None:
            return None
        return _final(name, detail.timeline.events)

    async def _follow(self, chosen: EventSelection) -> EventStream:
        opened = self._opened_daemon
        feed = await self._feed(opened, chosen)
        while True:
            ends = self._opened is None
            try:
                recorded = await self._with_retries(feed.read)
            except PollerClosed:
                return
            for stored in recorded:
                yield stored.emitted
            if not recorded and not feed.has_more:
                if ends:
                    return
                await feed.wait()

    async def _feed(self, opened: OpenedDaemon, chosen: EventSelection) -> EventFeed:
        start = partial(
            EventFeed.start,
            opened.store,
            opened.daemon.signals,
            after=chosen.after,
            from_oldest=chosen.from_oldest,
            operations=chosen.ids,
            groups=chosen.groups,
        )
        return await self._with_retries(start)

    async def _ends(self, opened: OpenedDaemon) -> Ends:
        """Yield the subjects of final events, and None after a gap in the reading."""
        while True:
            feed = await self._feed(opened, EventSelection())
            yield None
            try:
                while True:
                    for stored in await self._with_retries(feed.read):
                        if stored.final:
                            yield stored.subject
                    if not feed.has_more:
                        await feed.wait()
            except EventsGone:
                continue

    async def _with_retries(self, query: Callable[[], Awaitable[Result]]) -> Result:
        """Query the store, with retries while it is unavailable: an outage ends by itself."""
        while True:
            try:
                return await query()
            except StoreUnavailable:
                if self._opened is None:
                    raise PollerClosed(_CLOSED) from None
                await anyio.sleep(_RETRY_SECONDS)

    @asynccontextmanager
    async def _run(self) -> AsyncGenerator[None, None]:
        async with AsyncExitStack() as stack:
            opened = await open_daemon(stack, self._settings, self._configuration())
            async with background() as tasks:
                bound = await open_listeners(tasks, opened, self._settings)
                self._address = bound.address
                self._opened = opened
                finished = anyio.Event()
                tasks.start_soon(self._run_daemon, opened, finished)
                tasks.start_soon(self._waiters.run, partial(self._ends, opened))
                try:
                    yield
                finally:
                    opened.daemon.stop()
                    await finished.wait()
                    # queries of other tasks must not hold up the shutdown
                    stack.enter_context(opened.store.finishing(STORE_GRACE))

    async def _run_daemon(self, opened: OpenedDaemon, finished: anyio.Event) -> None:
        try:
            await opened.daemon.run()
        finally:
            self._opened = self._address = None
            self._waiters.close(f"{_CLOSED} ({opened.daemon.reason.value})")
            # wake those who follow events: they read the last ones, and end
            opened.daemon.signals.events.notify()
            finished.set()

    def _configuration(self) -> Configuration:
        made = configuration(self._settings, self._settings.api.require_credentials)
        return made if self._has_sinks else replace(made, sinks=())

    @property
    def _opened_daemon(self) -> OpenedDaemon:
        if self._opened is None:
            raise PollerClosed(_NOT_RUNNING)
        return self._opened

    @property
    def _daemon(self) -> Daemon:
        return self._opened_daemon.daemon

    @property
    def _store(self) -> Store:
        return self._opened_daemon.store


def _settings(
    arguments: Mapping[str, Mapping[str, Any]], tables: Mapping[str, Mapping[str, Any]]
) -> Settings:
    """Check all settings together; there is no listener unless one is given."""
    if "log" in tables:
        what = "not a setting of an embedded poller"
        fix = "configure the logger `poller`, or structlog, in the program"
        raise SettingsError([SettingsProblem(field="log", what=what, fix=fix)])
    twice = [
        SettingsProblem(field=f"{table}.{name}", what="also an argument", fix=_GIVEN_TWICE)
        for table, names in arguments.items()
        for name in names
        if name in tables.get(table, {})
    ]
    if twice:
        raise SettingsError(twice)
    merged = {**tables}
    for name, table in arguments.items():
        merged[name] = {**tables.get(name, {}), **table}
    merged["server"] = {"listen": "", **tables.get("server", {})}
    settings = check_settings(merged, origin="an argument")
    if settings.api.credentials is None:
        fix = "pass account_sid and auth_token, or api_key and api_secret"
        raise SettingsError([SettingsProblem(field="api", what="no credentials", fix=fix)])
    return settings


def _final(subject: str, events: Sequence[StoredEvent]) -> EmittedEvent:
    return latest_final(subject, events, is_final=lambda stored: stored.final).emitted
