"""`poller simulate`: the simulated API as a server, until it is told to stop."""

import os
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from typing import Final
from urllib.parse import urlsplit

import anyio
from anyio.abc import TaskStatus

from poller.cli.failures import EXIT_TROUBLE, fail
from poller.cli.invocation import own_command
from poller.cli.simulate_options import DEFAULT_HOST, DEFAULT_PORT
from poller.http.route import EgressError, find_route
from poller.simulator import SimulatedOperation, SimulatorConfig, World, serve, usage

__all__ = ["Place", "Samples", "run_simulator", "samples_to_come"]

_STDOUT: Final = 1
# In this order, again and again.
_FATES: Final = ("ordinary", "troubled", "canceled", "smooth")
_ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - to print, not to bind


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where to listen; port 0 takes a free one."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Operations to begin with."""

    operations: int
    recipients: int

    def create(self, world: World) -> list[SimulatedOperation]:
        """Begin them now."""
        fates = islice(cycle(_FATES), self.operations)
        return [world.send(recipients=self.recipients, fate=fate) for fate in fates]


def run_simulator(config: SimulatorConfig, place: Place, samples: Samples) -> int:
    """Serve until SIGINT or SIGTERM; returns the exit code."""
    try:
        fault = anyio.run(_simulate, config, place, samples)
    except KeyboardInterrupt:  # before it listened to signals
        return 0
    if fault is not None:
        fail(_cannot_listen(place, fault), EXIT_TROUBLE)
    return 0


def samples_to_come(count: int) -> tuple[Sequence[str], Sequence[str]]:
    """Foretell what a simulator with default options prints: its `export` lines, its sample ids."""
    config = SimulatorConfig()
    printed = usage(f"http://{DEFAULT_HOST}:{DEFAULT_PORT}/v1", config).splitlines()
    operations = Samples(operations=count, recipients=1).create(World(config))
    exports = [line for line in printed if line.startswith("export ")]
    return exports, [operation.id for operation in operations]


async def _simulate(config: SimulatorConfig, place: Place, samples: Samples) -> OSError | None:
    world = World(config)
    async with anyio.create_task_group() as tasks:
        await tasks.start(_await_signal, tasks.cancel_scope)
        try:
            base_url = await tasks.start(
                partial(serve, config, host=place.host, port=place.port, world=world)
            )
        except OSError as error:
            tasks.cancel_scope.cancel()
            return error
        await anyio.to_thread.run_sync(
            _print, _instructions(_reachable(base_url), config, samples.create(world))
        )
    return None


async def _await_signal(
    scope: anyio.CancelScope, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()


def _instructions(
    base_url: str, config: SimulatorConfig, operations: Sequence[SimulatedOperation]
) -> str:
    return _bypass(base_url) + usage(base_url, config) + _next(operations)


def _bypass(base_url: str) -> str:
    """Return what keeps requests to the simulator away from a proxy, where one is configured."""
    try:
        if find_route(base_url, os.environ).proxy is None:
            return ""
    except EgressError:
        pass
    host = urlsplit(base_url).hostname
    return f"""\
# A proxy is configured here; requests to the simulator must not take it:
export NO_PROXY="${{NO_PROXY:-}},{host}" no_proxy="${{no_proxy:-}},{host}"

"""


def _next(operations: Sequence[SimulatedOperation]) -> str:
    if not operations:
        return f"""
# Watch what was sent: {own_command()} watch ID
"""
    ids = " \\\n  ".join(operation.id for operation in operations)
    fates = ", ".join(_FATES[: len(operations)])
    return f"""
# Under way: {len(operations)} of {operations[0].timeline.total} recipients each ({fates})
{own_command()} watch \\
  {ids}
"""


def _print(text: str) -> None:
    # Whoever reads may go after a line or two, as `head` does; the server stays.
    with suppress(OSError):
        data = text.encode()
        while data:
            data = data[os.write(_STDOUT, data) :]


def _reachable(base_url: str) -> str:
    """Return a base URL that can be connected to: every address of this machine is none."""
    for anywhere, loopback in _ANYWHERE.items():
        base_url = base_url.replace(f"//{anywhere}:", f"//{loopback}:", 1)
    return base_url


def _cannot_listen(place: Place, fault: OSError) -> str:
    if isinstance(fault, socket.gaierror):
        hint = "--host must be a name or an address of this machine"
    else:
        hint = "choose another --port, such as 0 for a free one, or another --host"
    said = (fault.strerror or str(fault)).lower()
    return f"cannot listen on {place.host}:{place.port}: {said}; {hint}"
