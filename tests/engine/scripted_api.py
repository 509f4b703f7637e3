"""The API without a socket: a transport that answers from a script and counts what is under way."""

import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import anyio
import httpx
from pydantic import SecretStr

from poller.comms.client import CommsClient
from poller.comms.credentials import Credentials
from poller.comms.throttle import Throttle
from poller.engine.configuration import Configuration, SinkPlan
from poller.tracking.pacing import Policy
from tests.store.scenes import HOME

__all__ = ["GOOD", "QUICK", "ScriptedApi", "configuration", "envelope"]

GOOD = Credentials(username="AC1", password=SecretStr("token"))
QUICK = Policy(min_interval=1.0, max_interval=8.0, progress_interval=0.0)
Answers = Callable[[str], tuple[int, Any]]


def envelope(code: int) -> dict[str, Any]:
    """Make the vendor's error envelope."""
    return {"errors": [{"code": code, "message": "no", "infoUrl": "https://x.test"}]}


class ScriptedApi(httpx.AsyncBaseTransport):
    """Answers `answers(id)`, a status and a document; at once, or when its gate is opened."""

    def __init__(self, answers: Answers | None = None) -> None:
        self.answers = answers or self.processing
        self.asked: list[str] = []
        self.times: list[float] = []
        self.in_flight = self.peak = 0
        self.gate: anyio.Event | None = None
        self.before: Callable[[], Awaitable[None]] | None = None

    @staticmethod
    def processing(name: str) -> tuple[int, Any]:
        """Answer that nothing changes."""
        return 200, {"id": name, "status": "PROCESSING", "stats": {"total": 3, "queued": 3}}

    @staticmethod
    def completed(name: str) -> tuple[int, Any]:
        """Answer with an end."""
        return 200, {"id": name, "status": "COMPLETED", "stats": {"total": 3, "delivered": 3}}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        name = request.url.path.rpartition("/")[2]
        self.asked.append(name)
        self.times.append(anyio.current_time())
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            await anyio.lowlevel.checkpoint()
            if self.before is not None:
                await self.before()
            if self.gate is not None:
                await self.gate.wait()
            status, document = self.answers(name)
        finally:
            self.in_flight -= 1
        headers = {"content-type": "application/json"}
        return httpx.Response(status, headers=headers, stream=_Body(json.dumps(document).encode()))

    def open_gate(self) -> None:
        """Answer everything from now on."""
        assert self.gate is not None
        self.gate.set()
        self.gate = None

    def client(self, now: Callable[[], datetime]) -> CommsClient:
        """Make a client that asks here."""
        return CommsClient(
            base_url=HOME.base_url,
            credentials=GOOD,
            timeout=10.0,
            max_connections=4,
            transport=self,
            now=now,
        )

    @staticmethod
    def throttle(
        now: Callable[[], datetime], *, concurrency: int = 4, rate: float = 100_000
    ) -> Throttle:
        """Make a throttle that rarely stands in the way."""
        return Throttle(
            max_concurrency=concurrency, requests_per_second=rate, probe_interval=60.0, now=now
        )


class _Body(httpx.AsyncByteStream):
    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> Any:  # noqa: ANN401 - httpx asks for an iterator of bytes
        yield self._content


def configuration(*plans: SinkPlan, grace: float = 2.0, retention: float = 3600.0) -> Configuration:
    """Configure an engine that fetches one by one."""
    return Configuration(
        scope=HOME,
        policy=QUICK,
        credentials=lambda: GOOD,
        sinks=plans,
        retention=retention,
        shutdown_grace=grace,
        request_timeout=10.0,
        sweep=False,
    )
