"""Which dead letters a command is about, and the store that they are in."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import typer

from poller.clock import wall_clock
from poller.comms.ids import InvalidId, check_watchable_id
from poller.settings import Settings, parse_duration
from poller.store.dead_letters import Selection
from poller.store.store import Store
from poller.text import parse_instant
from poller.tracking.watch import AccountScope

__all__ = ["UnknownSink", "check_sink", "moment", "selection", "store_beside_daemon"]


class UnknownSink(LookupError):
    """The store has heard of no sink of that name; the message lists those that there are."""


def selection(
    *, sink: str | None, operation: str | None, since: str | None, until: str | None
) -> Selection:
    """Read what the options say.

    :raises typer.BadParameter: naming the first that is wrong.
    """
    now = wall_clock()
    begin, end = moment(since, now=now, option="--since"), moment(until, now=now, option="--until")
    if begin is not None and end is not None and begin >= end:
        raise typer.BadParameter("it is not before --until", param_hint="--since")
    try:
        operation_id = None if operation is None else check_watchable_id(operation)
    except InvalidId as error:
        raise typer.BadParameter(str(error), param_hint="--operation") from None
    return Selection(sink=sink, since=begin, until=end, operation_id=operation_id)


def moment(text: str | None, *, now: datetime, option: str) -> datetime | None:
    """Read an RFC 3339 instant, or a duration as that long before `now`.

    :raises typer.BadParameter: where it is neither; a number without a unit is none.
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
            f"{text!r} is no point in time; write 2026-11-22T10:00:00Z, or 2h for two hours ago",
            param_hint=option,
        ) from None


def check_sink(name: str, sinks: Mapping[str, bool], *, option: str) -> bool:
    """Return whether settings name that sink; `sinks` says it of all that are heard of.

    :raises UnknownSink: where there is none.
    """
    if name in sinks:
        return sinks[name]
    known = ", ".join(sinks) or "none"
    raise UnknownSink(f"{option}: the store knows no sink {name!r}; it knows: {known}")


@asynccontextmanager
async def store_beside_daemon(settings: Settings) -> AsyncIterator[Store]:
    """Open the store that the settings name, whether a daemon runs on it or not.

    :raises StoreError: where the store cannot be used.
    """
    home = AccountScope(account=settings.account, base_url=settings.api.base_url)
    url = settings.store.url.get_secret_value()
    store = await Store.open(url, home, as_daemon=False)
    try:
        yield store
    finally:
        await store.aclose()
