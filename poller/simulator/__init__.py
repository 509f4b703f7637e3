"""A simulated Communications API, for demos and for tests, including those of other programs.

It imports no other part of the poller. The model (`World` and below) is pure, without HTTP.
"""

from poller.simulator.config import Faults, SimulatorConfig, usage
from poller.simulator.operations import SimulatedOperation
from poller.simulator.pushes import check_push_url
from poller.simulator.scenarios import SCENARIOS, Scenario
from poller.simulator.server import create_app, serve
from poller.simulator.world import AlreadyEnded, ExpectedCounts, World

__all__ = [
    "SCENARIOS",
    "AlreadyEnded",
    "ExpectedCounts",
    "Faults",
    "Scenario",
    "SimulatedOperation",
    "SimulatorConfig",
    "World",
    "check_push_url",
    "create_app",
    "serve",
    "usage",
]
