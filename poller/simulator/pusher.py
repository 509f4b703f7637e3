"""Pushes events to a URL as the vendor's Event Streams do: signed, in batches, until accepted."""

import hashlib
import hmac
import json
import random
from base64 import b64encode
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import anyio
import httpx

from poller.simulator.pushes import Announcer, Disorder, Json
from poller.simulator.world import World

_PUSH_INTERVAL: Final = 0.05
_BATCH: Final = 100
_TIMEOUT: Final = 5.0
_RETRY_SECONDS: Final = 1.0


class Pusher:
    """Pushes the events of a world to a URL."""

    def __init__(self, world: World, url: str, *, disorder: Disorder | None = None) -> None:
        self._announcer = Announcer(world)
        self._token = world.config.auth_token
        self._url = url
        self._disorder = disorder or Disorder(
            random.Random(f"{world.config.seed}:pushes")  # noqa: S311 - has to repeat, not to be secret
        )

    async def run(self) -> None:
        """Push until cancelled."""
        # without a proxy: the receiver is near the simulator
        async with httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False) as client:
            while True:
                now = anyio.current_time()
                self._disorder.add(self._announcer.news(), now)
                while events := self._disorder.take(now, limit=_BATCH):
                    if not await self._push(client, events):
                        # retried until it succeeds, as the vendor does
                        self._disorder.repeat(events, anyio.current_time() + _RETRY_SECONDS)
                        break
                await anyio.sleep(_PUSH_INTERVAL)

    async def _push(self, client: httpx.AsyncClient, events: Sequence[Json]) -> bool:
        """Push a batch; returns False if it must be pushed again."""
        body = json.dumps(events).encode()
        query = f"bodySHA256={hashlib.sha256(body).hexdigest()}"
        headers = {
            "content-type": "application/json",
            "x-twilio-signature": signature(self._token, f"{_bare(self._url)}?{query}"),
        }
        try:
            answer = await client.post(f"{self._url}?{query}", content=body, headers=headers)
        except httpx.HTTPError:
            return False
        is_refused = answer.is_client_error and answer.status_code != httpx.codes.TOO_MANY_REQUESTS
        return answer.is_success or is_refused


def signature(token: str, url: str) -> str:
    """Sign a URL."""
    return b64encode(hmac.new(token.encode(), url.encode(), hashlib.sha1).digest()).decode()


def _bare(url: str) -> str:
    """Return the URL without its user and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
