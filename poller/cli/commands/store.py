"""`poller store copy`: move a store to another place, or from SQLite to PostgreSQL and back."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from poller.addresses import safe_url
from poller.cli.options import Config, Json, Overrides, Version
from poller.settings import SettingsLoader, StoreSettings
from poller.settings.addresses import store_password
from poller.store.copy import copy_store
from poller.text import dump_json


class StoreAction(StrEnum):
    """What is done with stores."""

    COPY = "copy"


def command(
    action: Annotated[StoreAction, typer.Argument(help="copy it.")],  # noqa: ARG001 - there is one
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="URL",
            help="The empty store to copy to, as in store.url, without a password.",
            show_default=False,
        ),
    ] = None,
    to_file: Annotated[
        Path | None,
        typer.Option(
            "--to-file",
            metavar="FILE",
            help="A file with that URL, which may have a password.",
            show_default=False,
        ),
    ] = None,
    json_output: Json = False,
    config: Config = None,
    overrides: Overrides = None,
    _version: Version = False,
) -> int:
    """Copy the store of the settings (store.url) into an empty one: SQLite or PostgreSQL.

    Refuses while a daemon runs on either. It is one transaction: a copy that is interrupted
    leaves the target empty, and can be repeated. The source is not changed.
    """
    target = _target(to, to_file)
    source = SettingsLoader(config, overrides).load("store").settings.store.url.get_secret_value()
    return copy(source, target, json_output=json_output)


def copy(source: str, target: str, *, json_output: bool) -> int:
    """Copy a store, print how many rows of each table it had, and return the exit code.

    :raises StoreError: where one of the two cannot be used, or the target is not empty.
    """

    def report(table: str, rows: int) -> None:
        if not json_output:
            sys.stdout.write(f"{table}\t{rows}\n")
            sys.stdout.flush()

    tables = copy_store(source, target, report)
    place, rows = safe_url(target), sum(tables.values())
    if json_output:
        document = {"from": safe_url(source), "to": place, "tables": tables, "rows": rows}
        sys.stdout.write(dump_json(document) + "\n")
    else:
        sys.stdout.write(
            f"copied {rows} rows; set store.url to {place} before you start the daemon again\n"
        )
    sys.stdout.flush()
    return 0


def _target(to: str | None, to_file: Path | None) -> str:
    """Read the URL of the target.

    :raises typer.BadParameter: naming what is wrong with it.
    """
    if (to is None) == (to_file is None):
        raise typer.BadParameter("name the target with one of them", param_hint="--to or --to-file")
    if to is not None:
        if store_password(to):
            raise typer.BadParameter(
                "has a password, which every user of this machine could read; "
                "write the URL into a file and name that with --to-file",
                param_hint="--to",
            )
        return _checked(to, "--to")
    assert to_file is not None  # noqa: S101 - checked above
    try:
        return _checked(to_file.read_text(encoding="utf-8-sig"), "--to-file")
    except (OSError, UnicodeDecodeError) as error:
        fault = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise typer.BadParameter(f"{to_file}: {fault}", param_hint="--to-file") from None


def _checked(url: str, option: str) -> str:
    try:
        return StoreSettings(url=url).url.get_secret_value()  # type: ignore[arg-type]
    except ValidationError as error:
        fault = error.errors()[0]
        text = f"{fault['msg']}; {fault['ctx']['fix']}"
        raise typer.BadParameter(text, param_hint=option) from None
