"""The request budget of an account that several daemons share: the store grants the permits."""

from collections import deque
from datetime import datetime, timedelta
from typing import Final

import anyio

from poller.comms.gate import Pause
from poller.store.budgets import PermitRequest
from poller.store.store import Store

# A permit expires: a daemon that was frozen must not send requests on permits from long ago.
# Nobody else gets an expired permit.
_VALID: Final = timedelta(seconds=1)
# Seconds that a daemon's right to probe a pause outlasts the deadline of the probe's request.
_PROBE_MARGIN: Final = 15.0


class StoredBudget:
    """The permits that this daemon has taken from the store and not yet used.

    `request_timeout` is how long a request may take, in seconds. `turn` is held while this daemon
    reports its needs to the store, so that each report counts what the one before has changed.
    """

    def __init__(self, store: Store, *, request_timeout: float) -> None:
        self.request_timeout = request_timeout
        self.turn = anyio.Lock()
        self._store = store
        self._starts: deque[datetime] = deque()
        self._refill_at = 0.0

    @property
    def unused(self) -> int:
        """How many permits are left: each allows one request to start."""
        oldest = self._store.now() - _VALID
        while self._starts and self._starts[0] < oldest:
            self._starts.popleft()
        return len(self._starts)

    @property
    def is_empty(self) -> bool:
        """Whether no permit is left until `refill` brings some."""
        return not self.unused

    def wait(self) -> float:
        """Return the seconds ≥ 0 until the next permit is valid, or `refill` may bring one."""
        if self.unused:
            return max(0.0, (self._starts[0] - self._store.now()).total_seconds())
        return max(0.0, self._refill_at - anyio.current_time())

    def take(self) -> None:
        """Use the oldest permit."""
        if self._starts:
            self._starts.popleft()

    def clear(self) -> None:
        """Drop the unused permits, because of a pause."""
        self._starts.clear()

    def configure(self, requests_per_second: float) -> None:
        """Do nothing: the store knows the rates of all daemons, and the lowest applies."""

    async def refill(self, *, in_flight: int, hurried: bool) -> Pause | None:
        """Take permits from the store; return the account's pause.

        :raises StoreError: where the store refuses; there is no permit then.
        """
        async with self.turn:
            permits = await self._store.shared.lease_permits(
                PermitRequest(
                    owner=self._store.owner,
                    in_flight=in_flight,
                    hurried=hurried,
                    probe_seconds=self.request_timeout + _PROBE_MARGIN,
                )
            )
            self._starts.extend(permits.starts)
        self._refill_at = anyio.current_time() + permits.wait
        return permits.pause
