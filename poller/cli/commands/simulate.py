"""`poller simulate`: the simulated API as a server, until SIGINT or SIGTERM."""

import os
import re
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import anyio
import typer
from anyio.abc import TaskStatus

from poller.cli.failures import EXIT_TROUBLE, fail
from poller.cli.options import Version
from poller.cli.output import own_command
from poller.http.route import EgressError, find_route
from poller.simulator import (
    SimulatedOperation,
    SimulatorConfig,
    World,
    check_push_url,
    serve,
    usage,
)

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8480

_SAMPLES: Final = "Sample operations"
_FAULTS: Final = "Faults (rates are shares of all requests, from 0 to 1; at most 1 together)"
_MOST_SAMPLES: Final = 10_000


def _rate(name: str, what: str) -> Any:  # noqa: ANN401 - what typer makes of an option
    return typer.Option(name, metavar="RATE", help=what, rich_help_panel=_FAULTS)


Port = Annotated[
    int,
    typer.Option(
        "--port", metavar="PORT", min=0, max=65535, help="Port to listen on; 0 takes a free one."
    ),
]
Host = Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Address to listen on.")]
Seed = Annotated[
    int,
    typer.Option(
        "--seed", metavar="N", help="The same seed gives the same credentials, ids and results."
    ),
]
Speed = Annotated[
    float, typer.Option("--speed", metavar="FACTOR", help="How many times faster than real sends.")
]
Fate = Annotated[
    str,
    typer.Option(
        "--fate",
        metavar="NAME",
        help="How sends without a tag for it end: ordinary, smooth, troubled, canceled, failing.",
    ),
]
Shape = Annotated[
    list[str] | None,
    typer.Option(
        "--shape",
        metavar="NAME",
        help="Answer in a variant from the vendor's other documents (repeatable): cumulative "
        "(counters), ends-at-sent (push without receipts), guide-lists (names of lists and ids), "
        "page-urls, page-tokens or meta-urls (pagination).",
    ),
]
Operations = Annotated[
    int,
    typer.Option(
        "--operations",
        metavar="N",
        min=0,
        max=_MOST_SAMPLES,
        help="How many to start at once; their ids are printed.",
        rich_help_panel=_SAMPLES,
    ),
]
Recipients = Annotated[
    int,
    typer.Option(
        "--recipients",
        metavar="N",
        min=1,
        max=_MOST_SAMPLES,
        help="Recipients of each.",
        rich_help_panel=_SAMPLES,
    ),
]
Rate429 = Annotated[float, _rate("--rate-429", "Too many requests.")]
Rate500 = Annotated[float, _rate("--rate-500", "Internal errors.")]
Rate503 = Annotated[float, _rate("--rate-503", "Unavailable.")]
RateSlow = Annotated[float, _rate("--rate-slow", "Delayed answers.")]
RateBroken = Annotated[float, _rate("--rate-broken", "Answers cut short, empty, HTML, or a reset.")]
RetryAfter = Annotated[
    float,
    typer.Option(
        "--retry-after",
        metavar="SECONDS",
        help="The Retry-After of a 429 and a 503.",
        rich_help_panel=_FAULTS,
    ),
]
SlowSeconds = Annotated[
    float,
    typer.Option(
        "--slow-seconds",
        metavar="SECONDS",
        help="The delay of an answer with --rate-slow.",
        rich_help_panel=_FAULTS,
    ),
]
MaxConcurrency = Annotated[
    int,
    typer.Option(
        "--max-concurrency",
        metavar="N",
        help="With more requests than this in flight, all get a 429.",
        rich_help_panel=_FAULTS,
    ),
]

Hints = Annotated[
    str,
    typer.Option(
        "--hints",
        metavar="URL",
        help="Push events there as the vendor's Event Streams do: signed, unordered, some twice, "
        "some never; such as http://127.0.0.1:8472/v1/hints.",
        show_default=False,
    ),
]

_STDOUT: Final = 1
# Sample operations get these in turn.
_FATES: Final = ("ordinary", "troubled", "canceled", "smooth")
_ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - to print, not to bind


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where to listen; port 0 takes a free one."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """The sample operations to start with."""

    operations: int
    recipients: int

    def create(self, world: World) -> list[SimulatedOperation]:
        """Start them now."""
        fates = islice(cycle(_FATES), self.operations)
        return [world.send(recipients=self.recipients, fate=fate) for fate in fates]


def command(
    port: Port = DEFAULT_PORT,
    host: Host = DEFAULT_HOST,
    seed: Seed = 1,
    speed: Speed = 1.0,
    fate: Fate = "ordinary",
    shape: Shape = None,
    operations: Operations = 0,
    recipients: Recipients = 1000,
    rate_429: Rate429 = 0.0,
    rate_500: Rate500 = 0.0,
    rate_503: Rate503 = 0.0,
    rate_slow: RateSlow = 0.0,
    rate_broken: RateBroken = 0.0,
    retry_after: RetryAfter = 1.0,
    slow_seconds: SlowSeconds = 5.0,
    max_concurrency: MaxConcurrency = 100,
    hints: Hints = "",
    _version: Version = False,
) -> int:
    """Serve a simulated Communications API, to try commands or to test other programs.

    Prints the variables that point a client at it, and a curl command that sends; runs until
    Ctrl-C.
    """
    config = simulator_config(
        seed=seed,
        speed=speed,
        fate=fate,
        shapes=tuple(shape or ()),
        rate_429=rate_429,
        rate_500=rate_500,
        rate_503=rate_503,
        rate_slow=rate_slow,
        rate_broken=rate_broken,
        retry_after=retry_after,
        slow_seconds=slow_seconds,
        max_concurrency=max_concurrency,
    )
    samples = Samples(operations=operations, recipients=recipients)
    return run_simulator(config, Place(host=host, port=port), samples, hints=_push_url(hints))


def _push_url(hints: str) -> str:
    try:
        return hints and check_push_url(hints)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--hints") from None


def simulator_config(**values: Any) -> SimulatorConfig:  # noqa: ANN401 - as typer read them
    """Make the simulator's configuration from the options.

    :raises typer.BadParameter: naming the option that is wrong.
    """
    try:
        return SimulatorConfig(**values)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=_option(str(error))) from None


def _option(message: str) -> str:
    """Return the option that an error is about: its message begins with the field's name."""
    if message.startswith("unknown fate"):
        return "--fate"
    if message.startswith("unknown shape"):
        return "--shape"
    if field := re.match(r"(\w+) is ", message):
        return "--" + field[1].replace("_", "-")
    return "--rate-…"


def run_simulator(
    config: SimulatorConfig, place: Place, samples: Samples, *, hints: str = ""
) -> int:
    """Serve until SIGINT or SIGTERM; returns the exit code. Events are pushed to `hints`."""
    try:
        fault = anyio.run(_simulate, config, place, samples, hints)
    except KeyboardInterrupt:  # before the signal handlers were installed
        return 0
    if fault is not None:
        fail(_cannot_listen(place, fault), EXIT_TROUBLE)
    return 0


def expected_samples(count: int) -> tuple[Sequence[str], Sequence[str]]:
    """Return the `export` lines and sample ids that a simulator with default options prints."""
    config = SimulatorConfig()
    printed = usage(f"http://{DEFAULT_HOST}:{DEFAULT_PORT}/v1", config).splitlines()
    operations = Samples(operations=count, recipients=1).create(World(config))
    exports = [line for line in printed if line.startswith("export ")]
    return exports, [operation.id for operation in operations]


async def _simulate(
    config: SimulatorConfig, place: Place, samples: Samples, hints: str
) -> OSError | None:
    world = World(config)
    async with anyio.create_task_group() as tasks:
        await tasks.start(_await_signal, tasks.cancel_scope)
        try:
            base_url = await tasks.start(
                partial(serve, config, host=place.host, port=place.port, world=world, hints=hints)
            )
        except OSError as error:
            tasks.cancel_scope.cancel()
            return error
        await anyio.to_thread.run_sync(
            _print, _instructions(_reachable(base_url), config, samples.create(world), hints)
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
    base_url: str, config: SimulatorConfig, operations: Sequence[SimulatedOperation], hints: str
) -> str:
    return _bypass(base_url) + usage(base_url, config, hints=hints) + _next(operations)


def _bypass(base_url: str) -> str:
    """Return the lines that keep requests to the simulator off a configured proxy."""
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
# In progress: {len(operations)} of {operations[0].timeline.total} recipients each ({fates})
{own_command()} watch \\
  {ids}
"""


def _print(text: str) -> None:
    # the reader may close standard output after a line, as `head` does; the server continues
    with suppress(OSError):
        data = text.encode()
        while data:
            data = data[os.write(_STDOUT, data) :]


def _reachable(base_url: str) -> str:
    """Return a base URL that clients can connect to, even if it listens on all addresses."""
    for anywhere, loopback in _ANYWHERE.items():
        base_url = base_url.replace(f"//{anywhere}:", f"//{loopback}:", 1)
    return base_url


def _cannot_listen(place: Place, fault: OSError) -> str:
    if isinstance(fault, socket.gaierror):
        hint = "--host must be a name or an address of this machine"
    else:
        hint = "choose another --port, such as 0 for a free one, or another --host"
    reason = (fault.strerror or str(fault)).lower()
    return f"cannot listen on {place.host}:{place.port}: {reason}; {hint}"
