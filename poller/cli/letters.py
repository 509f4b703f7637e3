"""Dead letters and replay, by way of a running daemon, or directly in the store."""

import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol

from anyio.to_thread import run_sync

from poller.cli.control.client import ControlClient
from poller.cli.control.errors import Refused
from poller.cli.control.session import Target
from poller.cli.selection import store_beside_daemon
from poller.server.documents import DeadLetterDocument
from poller.server.views import show_dead_letter
from poller.settings import Settings, SettingsError
from poller.store.dead_letters import DeadLetterCursor, Selection, UnknownEvent
from poller.store.errors import StoreUnavailable
from poller.store.lock import lock_holder
from poller.store.sqlite import sqlite_path
from poller.store.store import Store
from poller.text import format_instant

__all__ = ["Letters", "open_letters"]

_EVENT_ID: Final = re.compile(r"[0-9A-Za-z_-]{1,100}")


class Letters(Protocol):
    """Where dead letters lie: `place` says it in words.

    `is_served` says whether a daemon is there, as far as can be told, to send what is replayed.
    """

    place: str
    is_served: bool

    async def sinks(self) -> Mapping[str, bool]:
        """Return the sinks that are heard of, and of each whether settings name it."""

    async def listed(self, chosen: Selection, *, limit: int) -> Sequence[DeadLetterDocument]:
        """List up to `limit` dead letters in the order of their recording."""

    async def replay_event(self, event_id: str, sinks: Sequence[str] | None) -> Sequence[str]:
        """Send a kept event again, to these sinks or to all that had it; returns the sinks.

        :raises UnknownEvent: where it is not kept.
        """

    async def replay(self, chosen: Selection) -> Mapping[str, int]:
        """Send dead letters again; returns how many for each sink."""


@asynccontextmanager
async def open_letters(target: Target) -> AsyncIterator[Letters]:
    """Open those of the daemon that somebody named, or that serves the store of the settings.

    Else, or where that one cannot be asked, those of the store itself. What only the store needs
    may be wrong as long as a daemon answers.

    :raises SettingsError: where the settings that are needed cannot be used.
    :raises ControlError: where the daemon that was named cannot be asked.
    :raises StoreError: where the store cannot be used.
    """
    server = await run_sync(target.server)
    if (told := target.told()) is not None:
        async with ControlClient(told, token=server.token) as client:
            yield _OfDaemon(client)
        return
    settings = await run_sync(_settings_of_store, target)
    address = target.likely(server)
    if address is not None and (
        isinstance(settings, SettingsError) or await run_sync(_may_be_served, settings)
    ):
        async with ControlClient(address, token=server.token) as client:
            if await client.answers():
                yield _OfDaemon(client)
                return
    if isinstance(settings, SettingsError):
        raise settings
    async with store_beside_daemon(settings) as store:
        served = await run_sync(_may_be_served, settings)
        yield _OfStore(store, settings, is_served=served)


def _settings_of_store(target: Target) -> Settings | SettingsError:
    """Return the settings that name the store, the account and its API, or what is wrong there."""
    try:
        return target.settings("api", "store")
    except SettingsError as error:
        return error


def _may_be_served(settings: Settings) -> bool:
    """Whether a daemon may have the store of the settings; what is there and free has none."""
    path = sqlite_path(settings.store.url.get_secret_value())
    if path is None or not path.exists():
        return True
    try:
        return lock_holder(path) is not None
    except StoreUnavailable:  # it is another user's
        return True


class _OfStore:
    def __init__(self, store: Store, settings: Settings, *, is_served: bool) -> None:
        self._store = store
        self.is_served = is_served
        # a shell that lacks the daemon's settings looks elsewhere
        self.place = (
            f"of account {settings.account} at {settings.api.base_url} in {settings.store.url}"
        )

    async def sinks(self) -> Mapping[str, bool]:
        return {report.name: report.is_configured for report in await self._store.sinks()}

    async def listed(self, chosen: Selection, *, limit: int) -> Sequence[DeadLetterDocument]:
        found = await self._store.dead_letters(chosen, limit=limit)
        return [show_dead_letter(letter) for letter in found]

    async def replay_event(self, event_id: str, sinks: Sequence[str] | None) -> Sequence[str]:
        return await self._store.replay_event(event_id, sinks)

    async def replay(self, chosen: Selection) -> Mapping[str, int]:
        replayed: Counter[str] = Counter()
        after: DeadLetterCursor | None = None
        while True:
            page = await self._store.replay_dead_letters(chosen, after=after)
            replayed.update(page.replayed)
            if (after := page.next) is None:
                return dict(sorted(replayed.items()))


class _OfDaemon:
    def __init__(self, client: ControlClient) -> None:
        self._client = client
        self.is_served = True
        self.place = f"at {client.address}"

    async def sinks(self) -> Mapping[str, bool]:
        return {sink["name"]: sink["configured"] for sink in await self._client.sinks()}

    async def listed(self, chosen: Selection, *, limit: int) -> Sequence[DeadLetterDocument]:
        letters = self._client.dead_letters(_filters(chosen), limit=limit)
        return [letter async for letter in letters]

    async def replay_event(self, event_id: str, sinks: Sequence[str] | None) -> Sequence[str]:
        if not _EVENT_ID.fullmatch(event_id):
            raise UnknownEvent(f"no event {event_id[:100]!r} is kept, it is no id of an event")
        try:
            return await self._client.replay(event_id, sinks)
        except Refused as error:
            if error.name != "unknown-event":
                raise
            raise UnknownEvent(error.detail) from None

    async def replay(self, chosen: Selection) -> Mapping[str, int]:
        filters = dict(_filters(chosen))
        return await self._client.replay_dead_letters(filters or {"all": True})


def _filters(chosen: Selection) -> list[tuple[str, str]]:
    filters = {
        "sink": chosen.sink,
        "operation": chosen.operation_id,
        "since": None if chosen.since is None else format_instant(chosen.since),
        "until": None if chosen.until is None else format_instant(chosen.until),
    }
    return [(name, value) for name, value in filters.items() if value is not None]
