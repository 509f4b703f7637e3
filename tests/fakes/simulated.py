"""The simulator on a real socket in a thread of its own, for commands that block."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

import httpx
from anyio.from_thread import start_blocking_portal

from poller.simulator import SimulatorConfig, World, serve
from tests.fakes.tls import NO_TLS

__all__ = ["Simulated"]


class Simulated:
    """Its world stands still an hour ago until `advance`; a context manager."""

    def __init__(self, *, clock: Callable[[], datetime] | None = None) -> None:
        self._now = datetime.now(UTC) - timedelta(hours=1)
        self.config = SimulatorConfig(seed=7)
        self.world = World(self.config, clock=clock or (lambda: self._now))
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as exits:
            portal = exits.enter_context(start_blocking_portal())
            served, self.base_url = portal.start_task(
                lambda **options: serve(self.config, world=self.world, **options)
            )
            exits.callback(served.cancel)
            self._exits = exits.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exits.close()

    @property
    def environment(self) -> Mapping[str, str]:
        """What points a fast poller here."""
        return {
            "POLLER_API__BASE_URL": self.base_url,
            "POLLER_API__REQUESTS_PER_SECOND": "10000",
            "TWILIO_ACCOUNT_SID": self.config.account_sid,
            "TWILIO_AUTH_TOKEN": self.config.auth_token,
        }

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += timedelta(seconds=seconds)

    def requests(self) -> int:
        """Count the requests so far."""
        url = self.base_url.removesuffix("/v1") + "/_simulator/stats"
        return int(httpx.get(url, trust_env=False, verify=NO_TLS).json()["total"])
