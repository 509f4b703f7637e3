"""The command line: every command with its options. What a command does stands beside this file."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from poller.cli.app_control import commands
from poller.cli.failures import reporting
from poller.cli.options import (
    DEFAULT_KIND_NAME,
    Config,
    Ids,
    Json,
    KindName,
    Labels,
    Overrides,
    Timeout,
    Url,
    Version,
    defaults_of,
    registrations,
    timeout_seconds,
)
from poller.cli.simulate_options import (
    DEFAULT_HOST,
    DEFAULT_PORT,
    Fate,
    Host,
    MaxConcurrency,
    Operations,
    Port,
    Rate429,
    Rate500,
    Rate503,
    RateBroken,
    RateSlow,
    Recipients,
    RetryAfter,
    Seed,
    Shape,
    SlowSeconds,
    Speed,
    simulator_config,
)

# Every command imports its work when it runs: `--help` must not wait for a database driver.
# ruff: noqa: PLC0415

__all__ = ["app"]

app = typer.Typer(
    name="poller",
    help="Watches communications operations and messages to their end and tells what changed.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # boxes are for people; in a log or a pipe they would cut the message into pieces
    rich_markup_mode="rich" if sys.stderr.isatty() else None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _root(_version: Version = False) -> None:
    pass


@app.command(
    help="Run the daemon: watch operations and messages, and deliver their events.\n\n"
    "Each ID, and with --stdin each line (an id, or the JSON of a registration), is registered. "
    "With --until-idle it exits with 0 where everything ended and was delivered, else with 3, "
    "and with 4 after --timeout."
)
def run(
    ids: Ids = None,
    stdin: Annotated[
        bool, typer.Option("--stdin", help="Also register what comes on standard input.")
    ] = False,
    until_idle: Annotated[
        bool,
        typer.Option("--until-idle", help="End when everything has ended and is delivered."),
    ] = False,
    discover: Annotated[
        bool,
        typer.Option(
            "--discover", help="Also watch operations that nobody registered (polling.discover)."
        ),
    ] = False,
    timeout: Timeout = None,
    kind: KindName = DEFAULT_KIND_NAME,
    label: Labels = None,
    breakdown: Annotated[
        bool | None,
        typer.Option(
            "--breakdown/--no-breakdown",
            help="Read what failed once operations have ended (polling.breakdown).",
            show_default=False,
        ),
    ] = None,
    config: Config = None,
    overrides: Overrides = None,
    _version: Version = False,
) -> None:
    """Check and register what the command line names, then run."""
    defaults = defaults_of(kind=kind, labels=label)
    wishes = registrations(ids or (), defaults)
    seconds = timeout_seconds(timeout)
    from poller.cli.imports import imports_of_a_daemon

    with imports_of_a_daemon():
        from poller.cli.run import Job, run_daemon
        from poller.cli.wiring import Source

    job = Job(
        wishes=wishes,
        stdin=stdin,
        until_idle=until_idle,
        timeout=seconds,
        defaults=defaults,
    )
    told = list(overrides or ())
    if discover:
        told.append("polling.discover=true")
    if breakdown is not None:
        told.append(f"polling.breakdown={str(breakdown).lower()}")
    with reporting():
        raise typer.Exit(run_daemon(Source(config, told), job))


@app.command(
    help="Watch operations and messages live until they end; registers nothing, needs no daemon."
    "\n\n"
    "What a running daemon watches is followed there; the API is asked for the rest. On a "
    "terminal a bar per operation and the attempts of each message, else one event per line. "
    "With polling.breakdown it ends after what failed is told. Exits with 0 where all completed "
    "and no recipient failed, was undelivered or unaddressable (a failed attempt does not count "
    "where a fallback delivered); 3 where something ended otherwise; 4 after --timeout; 1 where "
    "the credentials are refused; 130 after Ctrl-C."
)
def watch(
    ids: Ids,
    json_output: Json = False,
    timeout: Timeout = None,
    kind: KindName = DEFAULT_KIND_NAME,
    label: Labels = None,
    url: Url = None,
    config: Config = None,
    overrides: Overrides = None,
    _version: Version = False,
) -> None:
    """Check what the command line names, then watch."""
    wishes = registrations(ids or (), defaults_of(kind=kind, labels=label))
    seconds = timeout_seconds(timeout)
    from poller.cli.control.session import Target
    from poller.cli.watch.command import watch_operations
    from poller.cli.wiring import Source

    with reporting():
        code = watch_operations(
            Source(config, overrides),
            Target(url, config, overrides),
            wishes,
            json_output=json_output,
            timeout=seconds,
        )
    raise typer.Exit(code)


@app.command(
    help="Show it all: three sample operations of a simulated API, watched to their ends.\n\n"
    "Takes about 20 seconds; needs no account and leaves nothing behind. On a terminal one line "
    "per event, else the events as JSON."
)
def demo(_version: Version = False) -> None:
    """Run the demo."""
    from poller.cli.demo import run_demo

    with reporting():
        code = run_demo()
    raise typer.Exit(code)


@app.command(
    help="Serve a simulated Communications API, to try things out or to test other programs.\n\n"
    "Prints what points a client at it and a curl that sends; runs until Ctrl-C."
)
def simulate(
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
    _version: Version = False,
) -> None:
    """Check the options, then serve."""
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
    from poller.cli.simulate import Place, Samples, run_simulator

    place = Place(host=host, port=port)
    samples = Samples(operations=operations, recipients=recipients)
    raise typer.Exit(run_simulator(config, place, samples))


@app.command(
    help="Check settings, credentials, store and sinks, and print the settings in force.\n\n"
    "Changes nothing and posts nothing, unless --send. Exits with 1 where anything is wrong."
)
def check(
    send: Annotated[
        bool, typer.Option("--send", help="Post one signed poller.test event to each webhook.")
    ] = False,
    json_output: Json = False,
    config: Config = None,
    overrides: Overrides = None,
    _version: Version = False,
) -> None:
    """Check everything."""
    from poller.cli.check import check_everything
    from poller.cli.wiring import Source

    with reporting():
        code = check_everything(Source(config, overrides), send=send, json_output=json_output)
    raise typer.Exit(code)


@app.command(
    help="Audit files of events against the promises: order, gaps, deltas, exactly one end.\n\n"
    "Exits with 1 where there is a problem. - reads standard input."
)
def verify(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Files of events.")],
    allow_gaps: Annotated[
        bool,
        typer.Option("--allow-gaps", help="The sink gets only some events, or has dead letters."),
    ] = False,
    ended: Annotated[bool, typer.Option("--ended", help="Everything must have ended.")] = False,
    json_output: Json = False,
    _version: Version = False,
) -> None:
    """Audit files."""
    from poller.cli.verify import verify_files

    raise typer.Exit(
        verify_files(files, allow_gaps=allow_gaps, ended=ended, json_output=json_output)
    )


# without a name its commands stand beside these
app.add_typer(commands)
