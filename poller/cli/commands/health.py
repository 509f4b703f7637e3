"""`poller health`: ask whether the daemon is healthy."""

from typing import Annotated

import typer

from poller.cli.health import check_health
from poller.cli.options import Config, Json, Overrides, Url, Version


def command(
    ready: Annotated[
        bool, typer.Option("--ready", help="Ask whether it can accept registrations.")
    ] = False,
    json_output: Json = False,
    url: Url = None,
    config: Config = None,
    overrides: Overrides = None,
    _version: Version = False,
) -> int:
    """Ask the running daemon whether it is healthy: exits with 0 or 1.

    Healthy means that its loops run; with --ready, that it can accept registrations. Trouble
    with credentials, the API or a sink is printed and does not change the exit code.
    """
    return check_health(
        ready=ready, json_output=json_output, url=url, config=config, overrides=overrides or ()
    )
