"""Groups: what it costs to record an answer about one of many members of one group.

Two stores of the same operations, in SQLite as it ships, are measured in turns: in one of them all
operations are members of one group. One answer a transaction is what fetches do, many what sweeps
do; each answer shows other counters. The aim is 1.3 times the cost.
"""

import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Final

import anyio

from poller.comms.kinds import DEFAULT_KIND
from poller.comms.models import decode_operation
from poller.store.daemons import DeclaredSink, Member
from poller.store.store import Store
from poller.tracking.answer import FoundAnswer
from poller.tracking.delivery import Subscription
from poller.tracking.pacing import Policy
from poller.tracking.registration import Registration
from poller.tracking.watch import AccountScope

__all__ = ["measure"]

Row = dict[str, object]

_HOME: Final = AccountScope(account="AC", base_url="http://api.test/v1")
_POLICY: Final = Policy()
_DAEMON: Final = Member(
    owner="benchmark", sinks=[DeclaredSink(subscription=Subscription(sink="app"))]
)
_NOW: Final = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
_PAGE: Final = 500
# answers a transaction, and how many transactions
_SCENES: Final = ((1, 800), (_PAGE, 15))


class _Side:
    """One store, whose clock goes on by a tenth of a second with each transaction."""

    def __init__(self, path: Path, number: int, *, group: str | None) -> None:
        self._path = path
        self._ids = [f"comms_operation_0{one:025d}" for one in range(number)]
        self._group = group
        self._now = _NOW
        self._chance = random.Random(1)  # noqa: S311 - a benchmark
        self._sent = 0

    async def open(self) -> None:
        """Register all operations, and see each of them once."""
        self._store = await Store.open(f"sqlite:///{self._path}", _HOME, now=lambda: self._now)
        await self._store.configure_sinks(_DAEMON)
        for start in range(0, len(self._ids), 5_000):
            wanted = [
                Registration(
                    id=one, kind="messages", labels={"campaign": "autumn"}, group=self._group
                )
                for one in self._ids[start : start + 5_000]
            ]
            await self._store.register(wanted, policy=_POLICY)
        for start in range(0, len(self._ids), _PAGE):
            await self.record(self._ids[start : start + _PAGE])

    async def close(self) -> None:
        """Close the store."""
        await self._store.aclose()

    async def record(self, ids: Sequence[str]) -> None:
        """Record an answer about each of these, in one transaction."""
        self._now += timedelta(seconds=0.1)
        self._sent += 1
        answers = []
        for one in ids:
            document = {
                "id": one,
                "status": "PROCESSING",
                "stats": {"total": 10_000, "queued": 10_000 - self._sent, "sent": self._sent},
            }
            found = decode_operation(document, kind=DEFAULT_KIND, expected_id=one)
            answer = FoundAnswer(found=found, begun_at=self._now, arrived_at=self._now)
            answers.append((one, answer))
        await self._store.record(answers, kind="messages", policy=_POLICY, lease_owner="benchmark")

    async def time(self, answers: int) -> float:
        """Record answers in a transaction; the microseconds for each of them."""
        chosen = self._chance.sample(self._ids, answers)
        begun = time.perf_counter()
        await self.record(chosen)
        return (time.perf_counter() - begun) / answers * 1e6


def measure(members: int, *, directory: Path) -> list[Row]:
    """Measure both sides with groups of `members` operations, in turns."""
    return anyio.run(_measure, members, directory)


async def _measure(members: int, directory: Path) -> list[Row]:
    sides = {
        "without": _Side(directory / "without.db", members, group=None),
        "with": _Side(directory / "with.db", members, group="autumn"),
    }
    for side in sides.values():
        await side.open()
    rows: list[Row] = []
    for answers, rounds in _SCENES:
        taken: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(rounds):
            # in turns, and neither side always the first: what disturbs one disturbs the other
            for name in sorted(sides, reverse=turn % 2 == 0):
                taken[name].append(await sides[name].time(answers))
        without, with_group = median(taken["without"]), median(taken["with"])
        rows.append(
            {
                "members": members,
                "answers a transaction": answers,
                "µs an answer without a group": without,
                "with one": with_group,
                "ratio (≤ 1.3)": with_group / without,
            }
        )
    for side in sides.values():
        await side.close()
    return rows
