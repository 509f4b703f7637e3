"""A simulated Communications API in a thread, for tests that may block."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from anyio.from_thread import BlockingPortal

from poller.simulator import (
    ExpectedCounts,
    Scenario,
    SimulatorConfig,
    World,
    serve,
)
from poller.testing.thread import InThread

_SPEED: Final = 20.0
_BEHIND: Final = timedelta(hours=1)
"""The simulator's clock starts this far in the past, so that a test can advance it."""


class CommsSimulator(InThread):
    """A simulated API on a free port of 127.0.0.1; a context manager. Any thread may call it.

    `options` are those of `poller simulate`, but by default a send is 20 times as fast as a real
    one. The same seed and the same sends in the same order give the same ids and outcomes.
    """

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - as `SimulatorConfig` checks them
        """Check the options.

        :raises ValueError: naming the one that is wrong.
        """
        super().__init__()
        self._config = SimulatorConfig(**{"speed": _SPEED, **options})
        self._advanced = timedelta()
        self._world = World(self._config, clock=self._now)
        self.base_url = ""

    @property
    def account_sid(self) -> str:
        """The account's id, and the user of `auth_token`."""
        return self._config.account_sid

    @property
    def auth_token(self) -> str:
        """The account's token; it protects nothing."""
        return self._config.auth_token

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables with which an application, or `poller run`, uses this simulator."""
        return {
            "POLLER_API__BASE_URL": self.base_url,
            "TWILIO_ACCOUNT_SID": self.account_sid,
            "TWILIO_AUTH_TOKEN": self.auth_token,
        }

    def send(
        self,
        recipients: int = 10,
        *,
        scenario: str | Scenario = "smooth",
        failing_with: Sequence[int] = (),
        scheduled_in: float | None = None,
        kind: str = "messages",
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Send as another application of the account would; returns the id of the operation.

        `scenario` is a name in `SCENARIOS` or a `Scenario`. With the error codes `failing_with`,
        each recipient fails: the first with the first code, the second with the second, and so on
        in turn. `scheduled_in` is the delay of the send in seconds.

        :raises ValueError: where an argument is wrong.
        """
        fate = Scenario(each=tuple(failing_with)) if failing_with else scenario
        wait = None if scheduled_in is None else timedelta(seconds=scheduled_in)
        operation = self._running.call(
            lambda: self._world.send(
                recipients=recipients,
                fate=fate,
                kind=kind,
                scheduled_for=None if wait is None else self._now() + wait,
                tags=tags,
            )
        )
        return operation.id

    def receive(self, text: str = "Hello", *, sender: str = "+14155550100") -> str:
        """Receive a message from a person, such as a reply; returns its id."""
        return self._running.call(partial(self._world.receive, text=text, sender=sender))

    def cancel(self, operation_id: str) -> None:
        """Cancel an operation: messages that were not sent yet are canceled.

        :raises KeyError: where there is no such operation.
        """
        self._running.call(partial(self._world.cancel, operation_id))

    def expected(self, operation_id: str) -> ExpectedCounts:
        """Return the true counts of an operation at this time, from its messages.

        :raises KeyError: where there is no such operation.
        """
        return self._running.call(partial(self._world.expected, operation_id))

    def advance(self, seconds: float) -> None:
        """Advance the simulator's clock; in total by less than an hour."""
        advanced = self._advanced + timedelta(seconds=seconds)
        if not self._advanced <= advanced < _BEHIND:
            raise ValueError("the clock only goes forward, and in total by less than an hour")
        self._advanced = advanced

    def _now(self) -> datetime:
        return datetime.now(UTC) - _BEHIND + self._advanced

    def _start(self, portal: BlockingPortal, exits: ExitStack) -> None:
        served, self.base_url = portal.start_task(
            lambda **options: serve(self._config, world=self._world, **options)
        )
        exits.callback(served.cancel)

    @property
    def _name(self) -> str:
        return "simulator"
