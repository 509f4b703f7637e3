"""`poller run --stdin`: what comes on standard input is registered while the daemon runs."""

from collections.abc import Sequence
from typing import Final

import anyio
import structlog

from poller.cli.stdin import read_lines, read_registration
from poller.engine.daemon import Daemon
from poller.store.errors import StoreError
from poller.store.watches import Registered
from poller.tracking.registration import BadRegistration, Defaults, Registration
from poller.trouble import TroubleLog

__all__ = ["StandardInput"]

log = structlog.get_logger()

_RETRY_SECONDS: Final = 1.0


class StandardInput:
    """Registers what comes on standard input; counts the lines that were refused."""

    def __init__(self, defaults: Defaults, *, fd: int = 0) -> None:
        self.refused = 0
        self._defaults = defaults
        self._fd = fd
        self._troubles = TroubleLog()

    async def register(self, daemon: Daemon) -> None:
        """Register each line as it comes, until the end of the input; then say so to the daemon.

        A line that cannot be registered is logged, counted and skipped.
        """
        async for lines in read_lines(self._fd):
            numbers, wishes = [], []
            for line in lines:
                try:
                    wishes.append(read_registration(line, self._defaults))
                except BadRegistration as error:
                    self._refuse(line.number, str(error))
                else:
                    numbers.append(line.number)
            for number, result in zip(numbers, await self._store(daemon, wishes), strict=True):
                if result.conflict is not None:
                    self._refuse(number, result.conflict)
        daemon.registered_all()

    def _refuse(self, number: int, error: str) -> None:
        self.refused += 1
        self._troubles.failure(log, "stdin.skipped", cause=number, line=number, error=error)

    async def _store(self, daemon: Daemon, wishes: Sequence[Registration]) -> Sequence[Registered]:
        """Register what was read; a store that refuses for a while loses none of it."""
        while wishes:
            try:
                results = await daemon.register(wishes)
            except StoreError as error:
                self._troubles.failure(
                    log, "store.unavailable", level="error", error=str(error), loop="stdin"
                )
                await anyio.sleep(_RETRY_SECONDS)
            else:
                self._troubles.success(log, "store.unavailable", "store.recovered", loop="stdin")
                return results
        return []
