"""The command line: every command with its options. What a command does stands beside this file."""

from typing import Annotated

import typer

from poller.cli.failures import reporting
from poller.cli.options import (
    DEFAULT_KIND_NAME,
    Config,
    Ids,
    KindName,
    Labels,
    Overrides,
    Timeout,
    Version,
    labels_of,
    registrations,
    timeout_seconds,
)

# Every command imports its work when it runs: `--help` must not wait for a database driver.
# ruff: noqa: PLC0415

__all__ = ["app"]

app = typer.Typer(
    name="poller",
    help="Watches communications operations to their end and tells what changed.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _root(_version: Version = False) -> None:
    pass


@app.command(
    help="Run the daemon: watch operations and deliver their events.\n\n"
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
    timeout: Timeout = None,
    kind: KindName = DEFAULT_KIND_NAME,
    label: Labels = None,
    config: Config = None,
    overrides: Overrides = None,
    _version: Version = False,
) -> None:
    """Check and register what the command line names, then run."""
    wishes = registrations(ids or (), kind=kind, labels=label)
    seconds = timeout_seconds(timeout)
    from poller.cli.run import Job, run_daemon
    from poller.cli.wiring import Source

    job = Job(
        wishes=wishes,
        stdin=stdin,
        until_idle=until_idle,
        timeout=seconds,
        kind=kind,
        labels=labels_of(label),
    )
    with reporting():
        raise typer.Exit(run_daemon(Source(config, overrides), job))
