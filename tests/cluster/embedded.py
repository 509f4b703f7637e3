"""Daemons of one account in the process of the test; each has a wall clock of its own."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final, Self

import anyio

import poller
from tests.fakes.api import ACCOUNT, TOKEN, FakeApi

__all__ = ["AskewDatetime", "embedded", "meet", "paused", "reload", "until"]

_FAST: Final[Mapping[str, Any]] = {
    "api": {"requests_per_second": 100, "max_concurrency": 16},
    "polling": {
        "min_interval": "1s",
        "max_interval": "1s",
        "progress_interval": "0s",
        "sweep": "off",
    },
}
_AHEAD: Final[ContextVar[timedelta]] = ContextVar("ahead", default=timedelta())


class AskewDatetime(datetime):
    """Takes the place of `datetime` where the program reads the wall clock."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        """Return what the clock shows on the machine of the daemon that reads it."""
        return super().now(tz or UTC) + _AHEAD.get()


@asynccontextmanager
async def embedded(
    url: str,
    api: FakeApi,
    *,
    ahead: timedelta = timedelta(),
    **tables: Any,  # noqa: ANN401 - tables of settings
) -> AsyncIterator[poller.Poller]:
    """Run a daemon; the clock of its machine is ahead by that much."""
    daemon = _made(url, api, tables)
    # the tasks of the daemon begin with a copy of this context
    before = _AHEAD.set(ahead)
    async with daemon:
        _AHEAD.reset(before)
        yield daemon


async def reload(daemon: poller.Poller, url: str, api: FakeApi, tables: Mapping[str, Any]) -> None:
    """Let a daemon take over settings with these tables, as SIGHUP does."""
    await daemon._daemon.reload(_made(url, api, tables)._configuration())


def _made(url: str, api: FakeApi, tables: Mapping[str, Any]) -> poller.Poller:
    return poller.Poller(
        store=url,
        account_sid=ACCOUNT,
        auth_token=TOKEN,
        base_url=api.base_url,
        settings={**_FAST, **tables},
    )


async def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    """Wait for what happens on other threads and in other tasks."""
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - as above
            await anyio.sleep(0.02)


async def meet(*daemons: poller.Poller) -> None:
    """Wait until each knows that it is not alone."""
    await until(lambda: all(one._daemon.membership.has_others for one in daemons))


def paused(daemon: poller.Poller) -> bool:
    """Whether a daemon keeps the pause of the account."""
    return daemon._daemon._throttle.account_pause is not None
