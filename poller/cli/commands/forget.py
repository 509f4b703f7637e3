"""`poller forget`: stop watching."""

from collections.abc import Sequence
from typing import Annotated

import typer

from poller.cli.options import Config, Json, Overrides, Url, Version, watchable_ids
from poller.cli.output import Results
from poller.cli.session import Target, with_daemon
from poller.control.client import ControlClient
from poller.control.errors import UnknownOperation


def command(
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="Ids of operations or messages.")],
    json_output: Json = False,
    url: Url = None,
    config: Config = None,
    overrides: Overrides = None,
    _version: Version = False,
) -> int:
    """Stop watching operations and messages. Recorded events are still delivered.

    Exits with 1 where one is unknown.
    """
    target = Target(url, config, overrides)
    return forget_operations(target, watchable_ids(ids), json_output=json_output)


def forget_operations(target: Target, ids: Sequence[str], *, json_output: bool) -> int:
    """Stop watching these operations and messages, and print a result for each.

    Returns 1 where one is unknown, else 0.

    :raises SettingsError: where the settings cannot be used.
    :raises ControlError: where the daemon does not answer.
    """
    results = Results(json_output=json_output)

    async def forget(client: ControlClient) -> None:
        for name in dict.fromkeys(ids):
            try:
                await client.forget(name)
            except UnknownOperation:
                document = {"id": name, "status": 404}
                results.add(name, "unknown", detail=None, document=document, bad=True)
            else:
                document = {"id": name, "status": 204}
                results.add(name, "forgotten", detail=None, document=document, bad=False)
            results.flush()

    with_daemon(target, forget)
    return results.exit_code
