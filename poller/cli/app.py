"""The command line: which commands there are. Each one is a module of `commands`."""

import gc
import re
import sys
from collections.abc import Mapping
from functools import wraps
from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from poller.cli.failures import reporting
from poller.cli.options import Version

# boxes only on a terminal; in a log or a pipe they would break up the message
_MARKUP: Final = "rich" if sys.stderr.isatty() else None
# the library describes its types; these say what to write
_WORDS: Final = (
    (r"Value error, ", ""),
    (r"Input should be a valid integer.*", "must be a whole number"),
    (r"Input should be a valid number.*", "must be a number"),
    (r"Input should be greater than or equal to ", "must be at least "),
    (r"Input should be less than or equal to ", "must be at most "),
    (r"Input should be greater than ", "must be more than "),
)
_HELP_OPTIONS: Final = {"help_option_names": ["-h", "--help"]}

COMMANDS: Final[Mapping[str, str]] = {
    "run": "Run the daemon: watch operations and messages, and deliver their events.",
    "watch": (
        "Watch operations and messages live until they end; registers nothing, needs no daemon."
    ),
    "demo": "Run a demonstration: three operations of a simulated API, watched to their ends.",
    "simulate": (
        "Serve a simulated Communications API, to try commands or to test other programs."
    ),
    "check": "Check settings, credentials, store and sinks, and print the settings in force.",
    "verify": "Audit files of events against the promises: order, gaps, deltas, exactly one end.",
    "add": "Register operations and messages with the running daemon, which then watches them.",
    "list": "List what the running daemon watches or watched, the latest registration first.",
    "show": "Show an operation or a message: its state, its events, and why one was not delivered.",
    "forget": "Stop watching operations and messages. Recorded events are still delivered.",
    "group": "List groups, show one, or seal one: it ends when all its members have.",
    "hints": "Print the commands that let the vendor push hints to server.hints_url.",
    "sinks": "Show the state of each sink, what waits for it and what it refused.",
    "health": "Ask the running daemon whether it is healthy: exits with 0 or 1.",
    "dead-letters": "List what could not be delivered and was given up.",
    "store": "Copy the store of the settings (store.url) into an empty one: SQLite or PostgreSQL.",
    "replay": (
        "Send events again: one by its id, or the dead letters of a sink, an operation, a period."
    ),
}
"""The commands in the order of the help page, each with the first paragraph of its own help."""


def load_command(name: str) -> TyperCommand:
    """Import a command with its options and everything that it needs."""
    module = import_module(f"poller.cli.commands.{name.replace('-', '_')}")
    function = module.command

    @wraps(function)
    def run(**values: Any) -> None:  # noqa: ANN401 - the command's own options
        _collect_garbage()
        with reporting():
            code: int = function(**values)
        raise typer.Exit(code)

    alone = typer.Typer(
        add_completion=False, rich_markup_mode=_MARKUP, context_settings=_HELP_OPTIONS
    )
    paragraphs = (function.__doc__ or "").split("\n\n")
    alone.command(
        name, cls=_Command, help="\n\n".join(" ".join(one.split()) for one in paragraphs)
    )(run)
    loaded = typer.main.get_command(alone)
    assert isinstance(loaded, TyperCommand)  # noqa: S101 - one function is one command
    return loaded


def _collect_garbage() -> None:
    """Enable garbage collection, but exclude the objects that exist already: imported modules."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


class _Command(TyperCommand):
    """Reports a bad value of an option in the words of this program."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - the library's
        """Read the options and arguments.

        :raises typer.BadParameter: naming the first one with a bad value.
        """
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            for words, ours in _WORDS:
                error.message = re.sub(words, ours, error.message)
            raise


class _Commands(TyperGroup):
    """Lists the commands without importing their modules, and imports the one that is called."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 - the library's
        listed = {name: TyperCommand(name, help=summary) for name, summary in COMMANDS.items()}
        super().__init__(**{**attributes, "commands": listed})

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - the library's
        """Read the options before the command: only `--help` and `--version` stand there."""
        own = {name for param in self.get_params(ctx) for name in param.opts}
        first = args[0] if args else ""
        if first.startswith("-") and first.partition("=")[0] not in own:
            ctx.fail(f"{first}: write options after the command, as in `poller run {first}`")
        return super().parse_args(ctx, args)

    def resolve_command(
        self,
        ctx: Any,  # noqa: ANN401 - the library's
        args: list[str],
    ) -> tuple[str | None, Any, list[str]]:
        """Find the command that is called, and import it."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if name is None else load_command(name), rest


app = typer.Typer(
    name="poller",
    cls=_Commands,
    help="Watches communications operations and messages to their end and reports what changed.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=_MARKUP,
    context_settings=_HELP_OPTIONS,
)


@app.callback()
def _root(_version: Version = False) -> None:
    pass
