"""What measures a daemon; where nobody could read it, nothing is measured."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from poller import __version__
from poller.cli.stderr import dropped_lines
from poller.comms.throttle import Throttle
from poller.engine.clock import wall_clock
from poller.engine.daemon import Daemon
from poller.engine.meter import NO_METER, Meter
from poller.server.listening import Listening
from poller.store.store import Store

__all__ = ["Measuring", "Page", "measuring"]

Page = Callable[[str | None], Awaitable[tuple[bytes, str]]]
"""Takes an `Accept` header, returns the page of metrics and its media type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measuring:
    """The meter, which the store and the engine tell, and what makes its page for a daemon."""

    meter: Meter
    page: Callable[[Daemon, Store, Throttle], Page] | None


def measuring(places: Listening) -> Measuring:
    """Measure for whoever asks at these places; without any, the library is not even imported."""
    if not places.is_anywhere:
        return Measuring(meter=NO_METER, page=None)
    from poller.server.exposition import Exposition  # noqa: PLC0415 - nearly a tenth of a second
    from poller.server.metrics import PrometheusMeter  # noqa: PLC0415 - as above

    instrument = PrometheusMeter()

    def page(daemon: Daemon, store: Store, throttle: Throttle) -> Page:
        exposition = Exposition(
            instrument,
            daemon=daemon,
            store=store,
            throttle=throttle,
            version=__version__,
            now=wall_clock,
            dropped_lines=dropped_lines,
        )
        return exposition.render

    return Measuring(meter=Meter(instrument), page=page)
