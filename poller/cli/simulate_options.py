"""The options of `poller simulate`, and the simulator's settings made of them."""

import re
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from poller.simulator import SimulatorConfig

__all__ = [
    "DEFAULT_HOST",
    "DEFAULT_PORT",
    "Fate",
    "Host",
    "MaxConcurrency",
    "Operations",
    "Port",
    "Rate429",
    "Rate500",
    "Rate503",
    "RateBroken",
    "RateSlow",
    "Recipients",
    "RetryAfter",
    "Seed",
    "Shape",
    "SlowSeconds",
    "Speed",
    "simulator_config",
]

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8480

_SAMPLES: Final = "Sample operations"
_FAULTS: Final = "Faults (rates are shares of all requests, from 0 to 1; at most 1 together)"
_MOST: Final = 10_000


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
    typer.Option("--seed", metavar="N", help="The same seed repeats credentials, ids and fates."),
]
Speed = Annotated[
    float, typer.Option("--speed", metavar="FACTOR", help="How much faster than real sends.")
]
Fate = Annotated[
    str,
    typer.Option(
        "--fate",
        metavar="NAME",
        help="What becomes of a send whose tags do not say: ordinary, smooth, troubled, canceled, "
        "failing.",
    ),
]
Shape = Annotated[
    list[str] | None,
    typer.Option(
        "--shape",
        metavar="NAME",
        help="Answer as other documents of the vendor show it (repeatable): cumulative (counters), "
        "ends-at-sent (push without receipts), guide-lists (names of lists and ids), page-urls, "
        "page-tokens or meta-urls (pagination).",
    ),
]
Operations = Annotated[
    int,
    typer.Option(
        "--operations",
        metavar="N",
        min=0,
        max=_MOST,
        help="How many to start with; their ids are printed.",
        rich_help_panel=_SAMPLES,
    ),
]
Recipients = Annotated[
    int,
    typer.Option(
        "--recipients",
        metavar="N",
        min=1,
        max=_MOST,
        help="Recipients of each.",
        rich_help_panel=_SAMPLES,
    ),
]
Rate429 = Annotated[float, _rate("--rate-429", "Too many requests.")]
Rate500 = Annotated[float, _rate("--rate-500", "Internal errors.")]
Rate503 = Annotated[float, _rate("--rate-503", "Unavailable.")]
RateSlow = Annotated[float, _rate("--rate-slow", "Answers that come late.")]
RateBroken = Annotated[float, _rate("--rate-broken", "Answers cut short, empty, HTML, or a reset.")]
RetryAfter = Annotated[
    float,
    typer.Option(
        "--retry-after",
        metavar="SECONDS",
        help="What a 429 and a 503 ask for.",
        rich_help_panel=_FAULTS,
    ),
]
SlowSeconds = Annotated[
    float,
    typer.Option(
        "--slow-seconds",
        metavar="SECONDS",
        help="How late a slow answer begins.",
        rich_help_panel=_FAULTS,
    ),
]
MaxConcurrency = Annotated[
    int,
    typer.Option(
        "--max-concurrency",
        metavar="N",
        help="Requests in flight above which all get a 429.",
        rich_help_panel=_FAULTS,
    ),
]


def simulator_config(**values: Any) -> "SimulatorConfig":  # noqa: ANN401 - as typer read them
    """Make a simulator's settings of its options.

    :raises typer.BadParameter: naming the option that is wrong.
    """
    from poller.simulator import SimulatorConfig  # noqa: PLC0415 - a web server is slow to import

    try:
        return SimulatorConfig(**values)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=_option(str(error))) from None


def _option(message: str) -> str:
    """Return the option that a complaint of the simulator is about: it begins with the field."""
    if message.startswith("unknown fate"):
        return "--fate"
    if message.startswith("unknown shape"):
        return "--shape"
    if field := re.match(r"(\w+) is ", message):
        return "--" + field[1].replace("_", "-")
    return "--rate-…"
