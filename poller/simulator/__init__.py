"""A faithful stand-in for the Communications API: for demos, tests, and other people's tests.

It imports nothing else of the poller. The model (`World` and below) is pure and knows no HTTP.
"""

from poller.simulator.app import create_app
from poller.simulator.config import Faults, SimulatorConfig
from poller.simulator.expected import ExpectedCounts
from poller.simulator.operations import SimulatedOperation
from poller.simulator.scenarios import SCENARIOS, Scenario
from poller.simulator.server import serve
from poller.simulator.usage import usage
from poller.simulator.world import AlreadyEnded, World

__all__ = [
    "SCENARIOS",
    "AlreadyEnded",
    "ExpectedCounts",
    "Faults",
    "Scenario",
    "SimulatedOperation",
    "SimulatorConfig",
    "World",
    "create_app",
    "serve",
    "usage",
]
