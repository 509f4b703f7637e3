"""Which commands there are, and what it costs to list them."""

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from poller.cli.app import COMMANDS, app, load_command
from tests.control.fake_daemon import A, FakeDaemon, Reply, document

ANSWER = {
    "status": "ok",
    "loops": [],
    "operations": [document(A, labels={"campaign": "hiver\u00e9"})],
    "next": None,
}


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


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("list --limit x", "Invalid value for '--limit': must be a whole number"),
        ("list --limit 0", "Invalid value for '--limit': must be at least 1"),
        ("simulate --port 99999", "Invalid value for '--port': must be at most 65535"),
        ("list --phase x", "Invalid value for '--phase': 'x' is not one of 'active',"),
        (
            "--config x run",
            "--config: write options after the command, as in `poller run --config`",
        ),
    ],
)
def test_a_bad_value_is_named_in_words_of_our_own(line: str, message: str) -> None:
    """Not in those of the libraries that read it."""
    result = CliRunner().invoke(app, line.split())
    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())


def after(*arguments: str, printing: str) -> str:
    """Run a command in a new interpreter; returns what an expression is afterwards."""
    program = (
        f"import gc, sys; sys.argv = {['poller', *arguments]}\n"
        "from poller.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print({printing})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, timeout=60, text=True, capture_output=True
    )
    return done.stdout.splitlines()[-1]


def test_the_help_page_imports_no_command() -> None:
    """Neither the HTTP client nor the database layer nor the settings: it is shown at once."""
    slow = {"anyio", "fastapi", "httpx", "pydantic", "sqlalchemy", "structlog", "uvicorn"}
    assert after("--help", printing=f"{slow} & sys.modules.keys()") == "set()"


def test_a_health_check_imports_little() -> None:
    """Each container runs one every few seconds."""
    slow = {"asyncio", "email", "http.client", "httpx", "pydantic", "ssl", "typer"}
    with FakeDaemon(lambda _: Reply(body={"status": "ok"})) as daemon:
        url = str(daemon.address)
        assert after("health", "--url", url, printing=f"{slow} & sys.modules.keys()") == "set()"
    assert len(daemon.asked) == 2


def test_a_command_collects_garbage() -> None:
    """Only the imports before it do without: else a daemon would grow."""
    found = after("verify", "/dev/null", printing="gc.isenabled(), gc.get_freeze_count() > 0")
    assert found == "True True"


def in_shell(
    command: str, daemon: FakeDaemon, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a line of a shell in which `poller` is this program, and `daemon` the running one."""
    start = f'poller() {{ "{sys.executable}" -m poller "$@"; }}; '
    environment = {**os.environ, "POLLER_URL": str(daemon.address), **variables}
    shell = ["sh", "-c", start + command]
    return subprocess.run(
        shell,
        env=environment,
        check=False,
        timeout=60,
        encoding="utf-8",
        capture_output=True,
    )


@pytest.mark.parametrize(
    ("command", "code", "error"),
    [
        ("poller list --json >&-", 0, ""),
        ("poller list >&-", 0, ""),
        ("{ poller health; echo $? >&2; } | true", 0, "0\n"),
        (
            "poller list --json >/dev/full",
            1,
            "poller: standard output cannot be written: No space left on device\n",
        ),
    ],
)
def test_output_that_goes_nowhere_is_no_traceback(command: str, code: int, error: str) -> None:
    """The exit code still tells whether the command did what it should."""
    with FakeDaemon(lambda _: Reply(body=ANSWER)) as daemon:
        done = in_shell(command, daemon)
    assert (done.returncode, done.stderr) == (code, error)


def test_documents_are_utf_8_in_every_locale() -> None:
    """As JSON must be."""
    with FakeDaemon(lambda _: Reply(body=ANSWER)) as daemon:
        done = in_shell("poller list --json", daemon, PYTHONIOENCODING="ascii")
    assert json.loads(done.stdout)["labels"] == {"campaign": "hiver\u00e9"}
