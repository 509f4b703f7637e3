"""A faithful stand-in for the Communications API: for demos, tests, and other people's tests.

It imports nothing else of the poller. The model (`World` and below) is pure and knows no HTTP.
"""

from poller.simulator.app import create_app
from poller.simulator.config import Faults, SimulatorConfig
from poller.simulator.fates import FATES, Fate
from poller.simulator.operations import Operation
from poller.simulator.server import serve
from poller.simulator.truth import Truth
from poller.simulator.usage import usage
from poller.simulator.world import AlreadyEnded, World

__all__ = [
    "FATES",
    "AlreadyEnded",
    "Fate",
    "Faults",
    "Operation",
    "SimulatorConfig",
    "Truth",
    "World",
    "create_app",
    "serve",
    "usage",
]
