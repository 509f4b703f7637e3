"""The account's pause outlives the process, and each answer changes the one that is stored."""

from datetime import timedelta

import pytest

from poller.comms.gate import Pause, Reason, Refusal, RequestEnd
from poller.tracking.watch import AccountScope
from tests.store.conftest import SLOW_ON_POSTGRESQL, OpenDaemon
from tests.store.scenes import HOME, NOW, Daemon

pytestmark = pytest.mark.anyio

REFUSED = RequestEnd(
    at=NOW + timedelta(microseconds=7),
    probe=False,
    refusal=Refusal(reason=Reason.THROTTLED, wait=90),
)
PAUSE = Pause(
    reason=Reason.THROTTLED,
    since=REFUSED.at,
    set_at=REFUSED.at,
    until=REFUSED.at + timedelta(seconds=90),
    level=1,
)


async def test_a_pause_survives_a_reopen(daemon: Daemon, open_daemon: OpenDaemon) -> None:
    """To the microsecond; the next process obeys it."""
    assert await daemon.store.pause() is None
    assert await daemon.store.shared.change_pause("first", REFUSED) == PAUSE
    await daemon.store.aclose()
    assert await (await open_daemon("next")).store.pause() == PAUSE


@SLOW_ON_POSTGRESQL
async def test_a_pause_is_its_homes_own(daemon: Daemon, open_daemon: OpenDaemon) -> None:
    """Another account is not throttled with it."""
    await daemon.store.shared.change_pause("first", REFUSED)
    other = AccountScope(account="AC2", base_url=HOME.base_url)
    stranger = await open_daemon("stranger", other, as_daemon=daemon.on_postgresql)
    assert await stranger.store.pause() is None
