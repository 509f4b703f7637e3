"""Collects what the vendor pushes, and writes it to the store: many pushes in one transaction.

    push ──▶ HintInbox.take ──waits──▶ one transaction for all pushes meanwhile ──▶ poll loop

So a thousand pushes a second cost the store no more than twenty. Hints that do not fit are dropped:
a hint only makes a poll come earlier.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import anyio

from poller.engine.configuration import Configuration
from poller.engine.log_events import log_discovered
from poller.engine.meter import NO_METER, Meter
from poller.engine.signals import Signals, Wakeup
from poller.engine.supervision import Heartbeats, repeat
from poller.store.store import Store
from poller.tracking.hint import HintBatch, HintEffect, stronger
from poller.tracking.pacing import most_hinted
from poller.tracking.watch import HintStrength

_NAME: Final = "hints"
_MOST_PENDING: Final = 10_000
_MOST_REMEMBERED: Final = 20_000
_TRANSACTION_SIZE: Final = 500
# seconds between two transactions
_PAUSE: Final = 0.05
# seconds: the longest time without a heartbeat of the loop
_IDLE_TURN: Final = 1.0
# seconds: the vendor is promised an answer within one
_WRITE_TIMEOUT: Final = 0.8


@dataclass(slots=True)
class _Round:
    """The hints that are written together; `is_stored` is valid once `over` is set."""

    over: anyio.Event = field(default_factory=anyio.Event)
    is_stored: bool = False


class HintInbox:
    """Takes batches of hints while `run` runs.

    It remembers the ids of the events that it has taken, and ignores repeated ones.
    """

    def __init__(
        self,
        *,
        store: Store,
        configuration: Callable[[], Configuration],
        signals: Signals,
        heartbeats: Heartbeats,
        meter: Meter = NO_METER,
    ) -> None:
        self._store = store
        self._configuration = configuration
        self._signals = signals
        self._heartbeats = heartbeats
        self._meter = meter
        self._wakeup = Wakeup()
        self._pending: dict[str, HintStrength] = {}
        self._round = _Round()
        self._taken: OrderedDict[str, None] = OrderedDict()

    async def take(self, batch: HintBatch) -> bool:
        """Take a batch; False where the store has not recorded it within a second.

        A batch without news waits for the next transaction too: this slows down a sender that
        repeats itself to the pace of the store.
        """
        effects = Counter(
            {HintEffect.IGNORED: batch.ignored, HintEffect.MALFORMED: batch.malformed}
        )
        fresh = {event.id: event for event in batch.events if event.id not in self._taken}
        effects[HintEffect.REPEATED] = len(batch.events) - len(fresh)
        for event in fresh.values():
            for name, strength in event.wakes.items():
                if name in self._pending or len(self._pending) < _MOST_PENDING:
                    self._pending[name] = stronger(self._pending.get(name), strength)
                else:
                    effects[HintEffect.DROPPED] += 1
        is_stored = await self._wait_until_written()
        if is_stored:
            self._meter.hinted(+effects)
            self._remember(fresh)
        return is_stored

    async def run(self) -> None:
        """Write the taken hints to the store, until cancelled."""
        await repeat(self._turn, name=_NAME, heartbeats=self._heartbeats)

    async def _wait_until_written(self) -> bool:
        current = self._round
        self._wakeup.wake()
        with anyio.move_on_after(_WRITE_TIMEOUT):
            await current.over.wait()
        return current.is_stored

    async def _turn(self) -> None:
        await self._wakeup.wait(_IDLE_TURN)
        pending, self._pending = self._pending, {}
        current, self._round = self._round, _Round()
        try:
            rest = iter(pending.items())
            while chunk := dict(islice(rest, _TRANSACTION_SIZE)):
                await self._record(chunk)
            current.is_stored = True
        finally:
            current.over.set()
        await anyio.sleep(_PAUSE)

    async def _record(self, hints: Mapping[str, HintStrength]) -> None:
        configuration = self._configuration()
        hinted = await self._store.record_hints(
            hints,
            policy=configuration.policy,
            most=most_hinted(configuration.requests_per_second),
            discovers=configuration.discover_age is not None,
        )
        log_discovered(hinted.discovered)
        self._meter.hinted(hinted.effects)
        if hinted.has_work:
            self._signals.polls.notify()

    def _remember(self, events: Mapping[str, object]) -> None:
        self._taken.update(dict.fromkeys(events))
        while len(self._taken) > _MOST_REMEMBERED:
            self._taken.popitem(last=False)
