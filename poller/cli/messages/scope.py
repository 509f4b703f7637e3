"""What `poller show` is asked of an operation's messages."""

from dataclasses import dataclass
from enum import StrEnum

import typer

from poller.comms.ids import InvalidId, check_operation_id
from poller.comms.kinds import KindSpec, UnknownKind, kind_named

__all__ = ["Form", "Scope", "messages_scope"]


class Form(StrEnum):
    """How it is printed."""

    TABLES = "tables"
    JSON = "json"
    CSV = "csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which messages and how; `kind` is None where the command line does not say it."""

    only_failed: bool
    kind: KindSpec | None
    form: Form


def messages_scope(
    watchable: str, *, messages: bool, failed: bool, kind: str | None, csv: bool, json_output: bool
) -> Scope | None:
    """Read the options; None where messages are not asked for.

    :raises typer.BadParameter: where options do not go together, naming one.
    """
    if not (messages or failed):
        for given, option in ((csv, "--csv"), (kind is not None, "--kind")):
            if given:
                raise typer.BadParameter(
                    "it is about messages; add --messages or --failed", param_hint=option
                )
        return None
    if csv and json_output:
        raise typer.BadParameter("choose one of --csv and --json", param_hint="--csv")
    if messages and failed:
        raise typer.BadParameter(
            "--messages shows all and --failed those that failed; choose one", param_hint="--failed"
        )
    try:
        check_operation_id(watchable)
        row = None if kind is None else kind_named(kind)
    except InvalidId as error:
        raise typer.BadParameter(str(error), param_hint="ID") from None
    except UnknownKind as error:
        raise typer.BadParameter(str(error), param_hint="--kind") from None
    form = Form.CSV if csv else Form.JSON if json_output else Form.TABLES
    return Scope(only_failed=failed, kind=row, form=form)
