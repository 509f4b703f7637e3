"""`poller demo`: a simulated API, a sample campaign and a daemon in one process, over real HTTP.

It reads no setting, needs no credentials and leaves nothing behind.
"""

import os
import signal
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum, auto
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import anyio
from anyio.abc import TaskStatus
from pydantic import SecretStr
from rich.text import Text

from poller.cli.commands.simulate import expected_samples
from poller.cli.failures import EXIT_TROUBLE, fail
from poller.cli.logs import configure_logs
from poller.cli.options import Version
from poller.cli.output import own_command
from poller.cli.screen import LABEL, Screen, line_maker
from poller.clock import wall_clock
from poller.comms.client import CommsClient
from poller.comms.credentials import Credentials
from poller.comms.throttle import Throttle
from poller.engine.configuration import Configuration, SinkPlan
from poller.engine.daemon import Daemon, Stop
from poller.http.route import Route
from poller.http.transport import open_transport
from poller.simulator import Scenario, SimulatedOperation, SimulatorConfig, World, serve
from poller.sinks.base import Sink
from poller.sinks.stdout import StdoutSink, json_line
from poller.store.store import Store
from poller.tracking.delivery import Subscription
from poller.tracking.pacing import Policy
from poller.tracking.registration import Registration
from poller.tracking.watch import AccountScope

# So fast that receipts follow at once: a message that was processed is also delivered.
CONFIG: Final = SimulatorConfig(speed=200.0)
"""The demo's simulator; the fixed seed makes every demo the same."""

GROUP: Final = "launch"
"""The group that counts the sends as one."""

_LAST_END: Final = 16.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """One send: it starts and ends `starts` and `ends` seconds after the launch."""

    name: str
    recipients: int
    plot: str
    fate: Scenario
    starts: float = 0.0
    ends: float
    explained: bool = False
    """Whether the demo also reads why some failed."""

    @property
    def paced(self) -> Scenario:
        """Its scenario, at the speed that makes it end at `ends`."""
        part = 1.0 if self.fate.canceled_at is None else self.fate.canceled_at
        return replace(self.fate, seconds=(self.ends - self.starts) * CONFIG.speed / part)


# The last two end at the same moment, so that only the end of the group follows.
CAMPAIGN: Final = (
    Send(
        name="autumn",
        recipients=400,
        plot="some fail, and why",
        fate=Scenario(failed=0.03, undelivered=0.03),
        ends=10.0,
        explained=True,
    ),
    Send(
        name="survey",
        recipients=300,
        plot="scheduled first",
        fate=Scenario(failed=0.01),
        starts=5.0,
        ends=_LAST_END,
    ),
    Send(
        name="coupon",
        recipients=500,
        plot="canceled half-way",
        fate=Scenario(undelivered=0.02, canceled_at=0.5),
        ends=_LAST_END,
    ),
)


def launch(world: World) -> Mapping[str, SimulatedOperation]:
    """Start every send of the campaign now; returns the operations by the name of the send."""
    now = world.now()
    return {
        send.name: world.send(
            recipients=send.recipients,
            fate=send.paced,
            scheduled_for=now + timedelta(seconds=send.starts) if send.starts else None,
            tags={"campaign": send.name},
        )
        for send in CAMPAIGN
    }


_STDOUT: Final = 1
_STDERR: Final = 2
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PATIENCE: Final = 120.0
"""Seconds after which a demonstration that has not ended is aborted."""

_POLICY: Final = Policy(min_interval=0.5, max_interval=1.0, progress_interval=2.0)
_CONCURRENCY: Final = 4
_REQUESTS_PER_SECOND: Final = 50.0
_CREDENTIALS: Final = Credentials(
    username=CONFIG.account_sid, password=SecretStr(CONFIG.auth_token)
)


class _DemoEnd(Enum):
    """How the demonstration ended."""

    SHOWN = auto()
    UNREAD = auto()
    """The reader closed standard output early, as `head` does."""
    UNCLEAN = auto()


def command(_version: Version = False) -> int:
    """Run a demonstration: three operations of a simulated API, watched to their ends.

    Takes about 20 seconds; needs no account and leaves nothing behind. On a terminal one line
    per event, else the events as JSON.
    """
    return run_demo()


def run_demo() -> int:
    """Run the demonstration to its end; returns the exit code.

    On a terminal events are lines for people; elsewhere they are JSON, and standard error has the
    text for people.

    :raises SinkUnavailable: where standard output is closed.
    :raises StoreError: where the temporary store cannot be used.
    """
    if sys.__stdout__ is None:
        fail("standard output is closed; start the demo with it open", EXIT_TROUBLE)
    # the daemon's log is for operators; the demo has nothing for them to repair
    configure_logs(level="critical", form="console")
    try:
        with _scratch() as directory:
            return anyio.run(_demo, Path(directory))
    except KeyboardInterrupt:
        return _exit_code(signal.SIGINT)


def _scratch() -> TemporaryDirectory[str]:
    try:
        return TemporaryDirectory(prefix="poller-demo-", ignore_cleanup_errors=True)
    except OSError as error:
        fail(
            f"no temporary directory: {error.strerror}; set TMPDIR to one that can be written",
            EXIT_TROUBLE,
        )


async def _demo(directory: Path) -> int:
    on_terminal = os.isatty(_STDOUT)
    screen = Screen(_STDOUT if on_terminal else _STDERR)
    await screen.say(_prologue())
    interrupted: list[int] = []
    end = _DemoEnd.UNCLEAN
    with anyio.move_on_after(_PATIENCE) as patience:
        async with anyio.create_task_group() as tasks:
            await tasks.start(_await_signal, tasks.cancel_scope, interrupted)
            world = World(CONFIG)
            base_url = await tasks.start(partial(serve, CONFIG, world=world))
            begun = wall_clock()
            line = line_maker(screen, begun=begun) if on_terminal else json_line
            sink = StdoutSink(line=line)
            end = await _watch(world, base_url, sink, directory)
            tasks.cancel_scope.cancel()
    if interrupted:
        return _exit_code(interrupted[0])
    if patience.cancelled_caught:
        fail(
            "the demo did not end in time; run it again on a less busy machine",
            EXIT_TROUBLE,
        )
    if end is _DemoEnd.SHOWN:
        await screen.say(_epilogue(own_command()))
    if end is _DemoEnd.UNCLEAN:
        fail("an operation was not shown to its end; that is a defect", EXIT_TROUBLE)
    return 0


async def _watch(world: World, base_url: str, sink: Sink, directory: Path) -> _DemoEnd:
    """Start the campaign and run a daemon until it has ended."""
    scope = AccountScope(account=CONFIG.account_sid, base_url=base_url)
    async with AsyncExitStack() as stack:
        store = await Store.open(f"sqlite:///{directory / 'poller.db'}", scope, now=wall_clock)
        stack.push_async_callback(store.aclose)
        client = await stack.enter_async_context(_client(base_url))
        daemon = Daemon(
            store=store,
            client=client,
            throttle=Throttle(
                max_concurrency=_CONCURRENCY,
                requests_per_second=_REQUESTS_PER_SECOND,
                probe_interval=_POLICY.max_interval,
                now=wall_clock,
            ),
            configuration=_configuration(scope, sink),
            now=wall_clock,
            until_idle=True,
        )
        await daemon.open()
        await daemon.register(_registrations(launch(world)))
        await daemon.seal(GROUP, None)
        daemon.registered_all()
        await daemon.run()
        if daemon.reason is Stop.NO_SINK:
            return _DemoEnd.UNREAD
        return _DemoEnd.SHOWN if (await daemon.summary()).is_clean else _DemoEnd.UNCLEAN


def _client(base_url: str) -> CommsClient:
    """Make a client that connects to this machine without a proxy."""
    transport = open_transport(Route.direct(base_url), max_connections=_CONCURRENCY)
    return CommsClient(
        base_url=base_url,
        credentials=_CREDENTIALS,
        timeout=5.0,
        max_connections=_CONCURRENCY,
        transport=transport,
        now=wall_clock,
    )


def _configuration(scope: AccountScope, sink: Sink) -> Configuration:
    plan = SinkPlan(
        subscription=Subscription(sink=sink.name, events=("*",), labels={}),
        key=sink.name,
        make=lambda: sink,
    )
    return Configuration(
        scope=scope,
        policy=_POLICY,
        credentials=lambda: _CREDENTIALS,
        sinks=[plan],
        retention=3600.0,
        shutdown_grace=5.0,
        request_timeout=5.0,
    )


def _registrations(operations: Mapping[str, SimulatedOperation]) -> list[Registration]:
    explained = {send.name: send.explained for send in CAMPAIGN}
    return [
        Registration(
            id=operation.id,
            kind=operation.kind.name,
            labels={LABEL: name},
            group=GROUP,
            breakdown=explained[name],
        )
        for name, operation in operations.items()
    ]


async def _await_signal(
    scope: anyio.CancelScope,
    received: list[int],
    *,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Stop everything at the first signal, and remember its number."""
    handled = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    with anyio.open_signal_receiver(*handled) as signals:
        task_status.started()
        async for number in signals:
            received.append(number)
            scope.cancel()


def _exit_code(number: int) -> int:
    """Return the exit code of a process that a signal ended, as shells report it."""
    return 128 + number


def _prologue() -> Text:
    cast = " · ".join(f"{send.name}: {send.plot}" for send in CAMPAIGN)
    return Text.assemble(
        f"Three bulk sends to a simulated API, in the group {GROUP}. Each line is an event.\n",
        (f"{cast}\n", "bold"),
        "It takes 20 seconds. No account is needed; nothing is really sent or stored.\n",
    )


def _epilogue(poller: str) -> Text:
    exports, (first, second, *_) = expected_samples(3)
    return Text.assemble(
        "\nEach line was an event. Your application receives CloudEvents in JSON. See some:\n\n",
        _commands(f"{poller} demo | head -n 3"),
        "\nNext, the simulated API as a server. In one terminal:\n\n",
        _commands(f"{poller} simulate --operations 3"),
        "\nIn another terminal, watch live, or run the daemon until all have ended:\n\n",
        _commands(*exports, f"{poller} watch {first}", f"{poller} run --until-idle {second}"),
        "\nWith your own account: leave out the first export, and set your own values.",
    )


def _commands(*lines: str) -> Text:
    return Text("".join(f"  {line}\n" for line in lines), style="cyan")
