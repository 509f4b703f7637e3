"""The account's pause outlives the process."""

from dataclasses import replace
from datetime import timedelta

import pytest

from poller.comms.gate import Pause, Reason
from poller.tracking.watch import AccountScope
from tests.store.conftest import OpenDaemon
from tests.store.scenes import HOME, NOW, Daemon

pytestmark = pytest.mark.anyio

PAUSE = Pause(
    reason=Reason.THROTTLED,
    since=NOW,
    set_at=NOW + timedelta(seconds=3),
    until=NOW + timedelta(seconds=90, microseconds=7),
    level=2,
)


async def test_a_pause_survives_a_reopen(daemon: Daemon, open_daemon: OpenDaemon) -> None:
    """To the microsecond; the next process obeys it."""
    assert await daemon.store.pause() is None
    await daemon.store.write_pause(PAUSE)
    await daemon.store.aclose()
    assert await (await open_daemon("next")).store.pause() == PAUSE


async def test_there_is_one_pause_at_a_time(daemon: Daemon) -> None:
    """The last one counts, and none is none."""
    await daemon.store.write_pause(PAUSE)
    longer = replace(PAUSE, reason=Reason.UNAUTHORIZED, level=3)
    await daemon.store.write_pause(longer)
    assert await daemon.store.pause() == longer
    await daemon.store.write_pause(None)
    assert await daemon.store.pause() is None
    await daemon.store.write_pause(None)


async def test_a_pause_is_its_homes_own(daemon: Daemon, open_daemon: OpenDaemon) -> None:
    """Another account is not throttled with it."""
    await daemon.store.write_pause(PAUSE)
    other = AccountScope(account="AC2", base_url=HOME.base_url)
    stranger = await open_daemon("stranger", other, as_daemon=daemon.on_postgresql)
    assert await stranger.store.pause() is None
