"""The baseline: one asyncio task per operation that fetches with httpx, sleeps, and keeps nothing.

Run as a process of its own, with operation ids on standard input; prints one JSON object. It may
use ten connections, with which its client is at its best: a hundred would halve what it does.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import time

import httpx

from tests.benchmarks.process import cost_of

__all__ = ["main"]

_CONNECTIONS = 10


class _Loop:
    """What all tasks share."""

    def __init__(self, client: httpx.AsyncClient, url: str, interval: float) -> None:
        self.observed = 0
        self.lags: list[float] = []
        self._client = client
        self._url = url
        self._interval = interval
        self._slots = asyncio.Semaphore(_CONNECTIONS)

    async def follow(self, name: str) -> None:
        """Fetch one operation at even intervals, as far as that is possible."""
        due = time.monotonic() + random.uniform(0, self._interval)  # noqa: S311 - not a secret
        while True:
            await asyncio.sleep(due - time.monotonic())
            async with self._slots:
                self.lags.append(time.monotonic() - due)
                answer = await self._client.get(f"{self._url}/{name}")
            answer.raise_for_status().json()
            self.observed += 1
            due = time.monotonic() + self._interval


async def _run(ids: list[str], arguments: argparse.Namespace) -> dict[str, float]:
    limits = httpx.Limits(max_connections=_CONNECTIONS)
    auth = (arguments.user, arguments.password)
    async with httpx.AsyncClient(limits=limits, auth=auth, timeout=60, trust_env=False) as client:
        loop = _Loop(client, f"{arguments.url}/Messages/Operations", arguments.interval)
        tasks = [asyncio.create_task(loop.follow(name)) for name in ids]
        await asyncio.sleep(min(5.0, arguments.seconds))
        loop.observed, begun, before = 0, time.monotonic(), cost_of(os.getpid())
        loop.lags.clear()
        await asyncio.sleep(arguments.seconds)
        after, took = cost_of(os.getpid()), time.monotonic() - begun
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    lags = sorted(loop.lags)
    return {
        "observed": loop.observed,
        "seconds": took,
        "cpu": after.cpu - before.cpu,
        "rss": after.rss,
        "lag": lags[int(0.99 * len(lags))] if lags else float("inf"),
    }


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser()
    for name in ("url", "user", "password"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("interval", "seconds"):
        parser.add_argument(f"--{name}", type=float, required=True)
    ids = sys.stdin.read().split()
    print(json.dumps(asyncio.run(_run(ids, parser.parse_args()))))  # noqa: T201 - its only answer


if __name__ == "__main__":
    main()
