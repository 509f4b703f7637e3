"""The configuration of an engine, at start and at each reload: values, no environment."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from poller.comms.credentials import AnyCredentials
from poller.sinks.base import Sink
from poller.tracking.delivery import Subscription
from poller.tracking.pacing import Policy
from poller.tracking.watch import AccountScope


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkPlan:
    """How to make a sink. Two plans with equal `key` make the same sink: a reload keeps it.

    `make` only builds the sink; the sink's `start` opens files and connections. Two daemons with
    equal `fingerprint` have the same settings for the sink; it contains no secret.
    """

    subscription: Subscription
    key: Hashable
    make: Callable[[], Sink]
    fingerprint: str = ""

    @property
    def name(self) -> str:
        """The sink's identity."""
        return self.subscription.sink


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The values that a reload can change while an engine runs.

    `credentials` reads the credentials again and may block: it is called in a worker thread before
    each probe of an account or kind that was refused. It may raise any exception; the engine then
    keeps the credentials that it has. `sweep` allows reading lists in place of single operations.
    `discover_age` is the maximum age, in seconds, of an operation that is watched without a
    registration; None turns discovery off. `retention`, `shutdown_grace` and `request_timeout` are
    in seconds. `max_concurrency` and `requests_per_second` limit the requests of the account.
    """

    scope: AccountScope
    policy: Policy
    credentials: Callable[[], AnyCredentials]
    sinks: Sequence[SinkPlan]
    retention: float
    shutdown_grace: float
    request_timeout: float
    sweep: bool = True
    discover_age: float | None = None
    max_concurrency: int = 4
    requests_per_second: float = 5.0
