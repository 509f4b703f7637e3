"""What repeats steps: a store that refuses each second is one trouble in the log."""

import pytest
from structlog.testing import capture_logs

from poller.engine import supervision
from poller.engine.supervision import repeat
from poller.store.errors import StoreUnavailable

pytestmark = pytest.mark.anyio


async def test_a_store_that_refuses_a_loop_is_logged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One error when it begins, each further failure at debug, and one line when it is over."""
    monkeypatch.setattr(supervision, "_PAUSE", 0.0)
    turns = 0

    async def step() -> bool:
        nonlocal turns
        turns += 1
        if turns <= 100:
            raise StoreUnavailable("store.url: full")
        return True

    with capture_logs() as logs:
        await repeat(step, name="poll")
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("store.unavailable", "error"),
        *[("store.unavailable", "debug")] * 99,
        ("store.recovered", "info"),
    ]
    assert (logs[-1]["loop"], logs[-1]["failures"]) == ("poll", 100)
