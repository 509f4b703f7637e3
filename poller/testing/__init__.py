"""For tests of an application that sends: a simulated API, and a poller that watches it.

With pytest, the fixtures `comms_simulator` and `poller_daemon` are available once comms-poller is
installed. Elsewhere, use `CommsSimulator` and `PollerDaemon` as context managers. Heavy modules are
imported on first use.
"""

from typing import TYPE_CHECKING, Final

from poller.importing import importer

if TYPE_CHECKING:
    from poller.simulator.scenarios import SCENARIOS, Scenario
    from poller.testing.daemon import PollerDaemon
    from poller.testing.simulator import CommsSimulator

__all__ = ["SCENARIOS", "CommsSimulator", "PollerDaemon", "Scenario"]

_PLACES: Final = {
    "SCENARIOS": "poller.simulator.scenarios",
    "CommsSimulator": "poller.testing.simulator",
    "PollerDaemon": "poller.testing.daemon",
    "Scenario": "poller.simulator.scenarios",
}

if not TYPE_CHECKING:  # type checkers know the names above, and no others
    __getattr__ = importer(__name__, _PLACES, globals())

    def __dir__() -> list[str]:
        return sorted(__all__)
