"""Which fault a request meets: drawn from the seed, in the order of the requests."""

import random
from enum import StrEnum

from poller.simulator.config import Faults

__all__ = ["BROKEN", "FaultSource", "SimulatedFault"]


class SimulatedFault(StrEnum):
    """What can go wrong with one request."""

    TOO_MANY = "429"
    INTERNAL = "500"
    UNAVAILABLE = "503"
    SLOW = "slow"
    HTML = "html"
    """A gateway's page in place of the answer; the request was not processed."""
    EMPTY = "empty"
    """The answer without its body, and a 202 without its operation headers."""
    TRUNCATED = "truncated"
    """Half of the body, of a length that says so."""
    RESET = "reset"
    """Processed, and the connection reset before a byte of the answer."""


BROKEN = (SimulatedFault.HTML, SimulatedFault.EMPTY, SimulatedFault.TRUNCATED, SimulatedFault.RESET)


class FaultSource:
    """Draws faults; the same seed draws the same row of numbers, whatever the rates are."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(f"{seed}:faults")  # noqa: S311 - has to repeat, not to be secret

    def draw(self, faults: Faults) -> SimulatedFault | None:
        """Return the fault of the next request, None for none."""
        drawn, broken = self._chance.random(), self._chance.choice(BROKEN)
        stack = (
            (faults.rate_429, SimulatedFault.TOO_MANY),
            (faults.rate_500, SimulatedFault.INTERNAL),
            (faults.rate_503, SimulatedFault.UNAVAILABLE),
            (faults.rate_slow, SimulatedFault.SLOW),
            (faults.rate_broken, broken),
        )
        for rate, fault in stack:
            if drawn < rate:
                return fault
            drawn -= rate
        return None
