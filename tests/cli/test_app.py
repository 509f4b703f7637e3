"""Which commands there are, and what it costs to list them."""

import subprocess
import sys

import pytest

from poller.cli.app import COMMANDS, load_command


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_what_the_help_of_a_command_begins_with(name: str) -> None:
    """The list is shown without importing the commands, so it has the sentences too."""
    assert str(load_command(name).help).split("\n\n")[0] == COMMANDS[name]


def test_every_module_of_commands_is_listed() -> None:
    """A command that the list does not have could not be called."""
    from importlib.resources import files  # noqa: PLC0415 - its only use

    found = {path.name for path in files("poller.cli.commands").iterdir()}
    expected = {f"{name.replace('-', '_')}.py" for name in COMMANDS}
    assert {name for name in found if name.endswith(".py")} == {*expected, "__init__.py"}


def test_the_help_page_imports_no_command() -> None:
    """Neither the HTTP client nor the database layer nor the settings: it is shown at once."""
    program = (
        "import sys; sys.argv = ['poller', '--help']\n"
        "from poller.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "slow = {'anyio', 'fastapi', 'httpx', 'pydantic', 'sqlalchemy', 'structlog', 'uvicorn'}\n"
        "print(sorted(slow & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, timeout=60, text=True, capture_output=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
