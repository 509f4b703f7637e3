"""Collects what the vendor pushes, and writes it to the store: many pushes in one transaction.

    push ──▶ HintInbox.take ──waits──▶ one transaction for all that came meanwhile ──▶ poll loop

So a thousand pushes a second cost the store no more than twenty. What does not fit is dropped: a
hint only makes a poll come earlier.
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
_AT_ONCE: Final = 500
# seconds between two transactions
_PAUSE: Final = 0.05
_LOOK_EVERY: Final = 1.0
# seconds: a push is answered within one
_PATIENCE: Final = 0.8


@dataclass(slots=True)
class _Round:
    """What is written together; `is_stored` holds once it is `over`."""

    over: anyio.Event = field(default_factory=anyio.Event)
    is_stored: bool = False


class HintInbox:
    """Takes batches of hints while `run` runs.

    It remembers the events that it has taken, so that one that is pushed again does nothing.
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
        """Take a batch; False where the store has not taken it within a second.

        It returns with the next transaction also where nothing in it is new: who sends the same
        again and again is no faster than the store.
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
        is_stored = await self._written()
        if is_stored:
            self._meter.hinted(+effects)
            self._remember(fresh)
        return is_stored

    async def run(self) -> None:
        """Write what was taken, until cancelled."""
        await repeat(self._turn, name=_NAME, heartbeats=self._heartbeats)

    async def _written(self) -> bool:
        current = self._round
        self._wakeup.wake()
        with anyio.move_on_after(_PATIENCE):
            await current.over.wait()
        return current.is_stored

    async def _turn(self) -> None:
        await self._wakeup.wait(_LOOK_EVERY)
        pending, self._pending = self._pending, {}
        current, self._round = self._round, _Round()
        try:
            rest = iter(pending.items())
            while chunk := dict(islice(rest, _AT_ONCE)):
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
