"""Dead letters: the options that select them, and the control API that lists and replays them."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx
import typer
from anyio.to_thread import run_sync
from starlette.types import ASGIApp

from poller.cli.session import Target
from poller.clock import wall_clock
from poller.comms.ids import InvalidId, check_watchable_id
from poller.control.address import Address
from poller.control.client import ControlClient
from poller.settings import Settings, SettingsError, parse_duration
from poller.store.errors import StoreUnavailable
from poller.store.lock import lock_holder
from poller.store.sqlite import sqlite_path
from poller.store.store import Store
from poller.text import format_instant, parse_instant
from poller.tracking.watch import AccountScope


class UnknownSink(LookupError):
    """The store has no record of a sink of that name; the message lists those that it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterSource:
    """A client for the routes of sinks and dead letters; `place` names the source for people.

    `is_served` says whether a daemon probably runs, which sends what is replayed.
    """

    client: ControlClient
    place: str
    is_served: bool

    async def sinks(self) -> Mapping[str, bool]:
        """Return the sinks in the store, each with whether it is configured."""
        return {sink["name"]: sink["configured"] for sink in await self.client.sinks()}


def read_filters(
    *, sink: str | None, operation: str | None, since: str | None, until: str | None
) -> dict[str, str]:
    """Read the options that select dead letters; returns parameters of the control API.

    :raises typer.BadParameter: naming the first option that is wrong.
    """
    now = wall_clock()
    begin, end = moment(since, now=now, option="--since"), moment(until, now=now, option="--until")
    if begin is not None and end is not None and begin >= end:
        raise typer.BadParameter("it is not before --until", param_hint="--since")
    try:
        operation_id = None if operation is None else check_watchable_id(operation)
    except InvalidId as error:
        raise typer.BadParameter(str(error), param_hint="--operation") from None
    filters = {
        "sink": sink,
        "operation": operation_id,
        "since": None if begin is None else format_instant(begin),
        "until": None if end is None else format_instant(end),
    }
    return {name: value for name, value in filters.items() if value is not None}


def moment(text: str | None, *, now: datetime, option: str) -> datetime | None:
    """Read an RFC 3339 instant, or a duration, which means that long before `now`.

    :raises typer.BadParameter: where it is neither; a duration needs a unit.
    """
    if text is None:
        return None
    if (instant := parse_instant(text)) is not None:
        return instant
    try:
        unit = text[-1:].isalpha()
        return now - timedelta(seconds=parse_duration(text if unit else ""))
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is not a point in time; write 2026-11-22T10:00:00Z, or 2h for two hours ago",
            param_hint=option,
        ) from None


def check_sink(name: str, sinks: Mapping[str, bool], *, option: str) -> bool:
    """Return whether that sink is configured; `sinks` are those in the store.

    :raises UnknownSink: where it is not one of them.
    """
    if name in sinks:
        return sinks[name]
    known = ", ".join(sinks) or "none"
    raise UnknownSink(f"{option}: the store knows no sink {name!r}; it knows: {known}")


@asynccontextmanager
async def open_dead_letters(target: Target) -> AsyncIterator[DeadLetterSource]:
    """Connect to the daemon at `--url`, or to the daemon that uses the store of the settings.

    Without a daemon, the same routes are served from the store within this process. Settings that
    only the store needs are not checked if a daemon answers.

    :raises SettingsError: where the settings that are needed cannot be used.
    :raises ControlError: where the daemon at `--url` does not answer.
    :raises StoreError: where the store cannot be used.
    """
    server = await run_sync(target.server)
    if (named := target.named()) is not None:
        async with ControlClient(named, token=server.token) as client:
            yield _of_daemon(client)
        return
    settings = await run_sync(_settings_of_store, target)
    address = target.likely(server)
    if address is not None and (
        isinstance(settings, SettingsError) or await run_sync(_may_be_served, settings)
    ):
        async with ControlClient(address, token=server.token) as client:
            if await client.answers():
                yield _of_daemon(client)
                return
    if isinstance(settings, SettingsError):
        raise settings
    async with _of_store(settings) as source:
        yield source


def _settings_of_store(target: Target) -> Settings | SettingsError:
    """Return the settings of the store, the account and its API, or their errors."""
    try:
        return target.settings("api", "store")
    except SettingsError as error:
        return error


def _may_be_served(settings: Settings) -> bool:
    """Whether a daemon may be using the store; a SQLite file without a lock has none."""
    path = sqlite_path(settings.store.url.get_secret_value())
    if path is None or not path.exists():
        return True
    try:
        return lock_holder(path) is not None
    except StoreUnavailable:  # it belongs to another user
        return True


def _of_daemon(client: ControlClient) -> DeadLetterSource:
    return DeadLetterSource(client=client, place=f"at {client.address}", is_served=True)


@asynccontextmanager
async def _of_store(settings: Settings) -> AsyncIterator[DeadLetterSource]:
    """Serve the routes from the store in this process, even if a daemon uses the store too."""
    scope = AccountScope(account=settings.account, base_url=settings.api.base_url)
    store = await Store.open(settings.store.url.get_secret_value(), scope, as_daemon=False)
    try:
        transport = httpx.ASGITransport(await run_sync(_app_of, store))
        async with ControlClient(Address(), token=None, transport=transport) as client:
            yield DeadLetterSource(
                client=client,
                # naming the store shows a user whose shell lacks the daemon's settings the mistake
                place=f"of account {scope.account} at {scope.base_url} in {settings.store.url}",
                is_served=await run_sync(_may_be_served, settings),
            )
    finally:
        await store.aclose()


def _app_of(store: Store) -> ASGIApp:
    # imported here, in a thread: FastAPI is slow to import, and with a daemon it is not needed
    from poller.server.app import dead_letter_app  # noqa: PLC0415
    from poller.server.control import SinkControl  # noqa: PLC0415

    return dead_letter_app(SinkControl(store=store, replayer=store, closed_sinks=frozenset))
