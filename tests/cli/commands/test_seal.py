"""`poller run --group NAME --seal`: what happens when a store refuses, or a seal is impossible."""

from typing import cast

import pytest
from structlog.testing import capture_logs

from poller.cli.commands.run import Job, _register
from poller.cli.stdin import StandardInput
from poller.engine.daemon import Daemon
from poller.store.errors import StoreUnavailable
from poller.store.groups import UnknownGroup
from poller.tracking.registration import Defaults

pytestmark = pytest.mark.anyio

JOB = Job(
    registrations=(),
    stdin=False,
    until_idle=True,
    timeout=None,
    defaults=Defaults(group="autumn"),
    json_output=False,
    open_page=False,
    seal=True,
)


class Sealer:
    """A daemon that only seals: it raises these, one after the other, and then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.calls: list[str] = []
        self._errors = list(errors)

    async def seal(self, group: str, expected: int | None) -> None:
        """Stand in for the daemon's."""
        assert expected is None
        self.calls.append(f"seal {group}")
        if self._errors:
            raise self._errors.pop(0)

    def registered_all(self) -> None:
        """Stand in for the daemon's."""
        self.calls.append("registered all")


async def run(sealer: Sealer) -> list[str]:
    """Register nothing more, and seal; returns the log events."""
    with capture_logs() as logs:
        await _register(cast("Daemon", sealer), StandardInput(JOB.defaults), JOB)
    return [line["event"] for line in logs]


async def test_a_store_that_refuses_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group that was to be sealed does not stay open because of one refusal."""
    monkeypatch.setattr("poller.engine.supervision._PAUSE", 0.0)
    sealer = Sealer(StoreUnavailable("store.url: full"), StoreUnavailable("store.url: full"))
    assert "store.unavailable" in await run(sealer)
    assert sealer.calls == ["seal autumn"] * 3 + ["registered all"]


async def test_what_cannot_be_sealed_is_said_once() -> None:
    """And the daemon ends when it is idle all the same."""
    sealer = Sealer(UnknownGroup("no group autumn is known"))
    assert await run(sealer) == ["group.not_sealed"]
    assert sealer.calls == ["seal autumn", "registered all"]
