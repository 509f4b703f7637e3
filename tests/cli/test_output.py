"""Tables on terminals of several widths."""

from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from poller.cli.output import draw_table, own_command, wrapped
from tests.golden.test_golden import compare

SINKS = ("SINK", "STATE", "SINCE", "WAITING", "OLDEST", "DEAD", "NEXT ATTEMPT", "LAST ERROR")
ERROR = "http://127.0.0.1:9: connection refused; is the receiver running, and is the url right?"
LETTERS = ("EVENT", "SINK", "TYPE", "SUBJECT", "GIVEN UP", "ATTEMPTS", "LAST ERROR")
SUBJECT = "comms_operation_4cmtqqee4dxct8s9nfeww9vtsm"
EVENT = "01a2246f-a14d-7cdd-b5f3-3462ce652a55"


def drawn(width: int) -> str:
    """Draw sinks and dead letters."""
    console = Console(file=StringIO(), width=width, force_terminal=False, highlight=False)
    sinks = [
        ("stdout", "ok", "3m 20s ago", "0", "–", "0", "–", "–"),
        ("crm", "failing", "11s ago", "2", "11s ago", "0", "in 3s", ERROR),
    ]
    letter = (EVENT, "crm", "operation.completed", SUBJECT, "2026-11-28T23:13:44Z", "9", ERROR)
    with console.capture() as capture:
        draw_table(console, SINKS[:-1], [row[:-1] for row in sinks])
        draw_table(console, SINKS, sinks)
        draw_table(console, LETTERS, [letter])
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def test_tables_fit_and_break_no_word() -> None:
    """At 80 and at 120 columns; every word is found whole."""
    for width in (80, 120):
        lines = drawn(width).splitlines()
        assert max(map(len, lines)) <= width
        words = " ".join(lines).split()
        assert {*ERROR.split(), SUBJECT, EVENT} <= {word.rstrip(";") for word in words} | set(words)
    compare("tables.txt", f"80 columns\n{drawn(80)}\n\n120 columns\n{drawn(120)}\n")


def test_a_long_word_stays_whole() -> None:
    """An address can then be copied."""
    text = wrapped(f"at {'x' * 90} no-one answers", width=80, begin="why ", indent="    ")
    assert text.splitlines() == ["why at", f"    {'x' * 90}", "    no-one answers"]


def path_with(**programs: str) -> Callable[[str], str | None]:
    """Make a search path that holds these."""
    return programs.get


def test_what_is_on_the_path_is_called_by_its_name() -> None:
    """An installed program needs no path."""
    which = path_with(poller="/usr/bin/poller")
    assert own_command("/usr/bin/poller", which=which) == "poller"


def test_another_one_on_the_path_is_not_taken(tmp_path: Path) -> None:
    """A second installation is called by its whole path."""
    which = path_with(poller="/usr/bin/poller")
    assert own_command(f"{tmp_path}/poller", which=which) == f"{tmp_path}/poller"


def test_in_a_clone_the_path_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the current directory the path begins there, and is quoted where it has to be."""
    monkeypatch.chdir(tmp_path)
    assert own_command(f"{tmp_path}/.venv/bin/poller", which=path_with()) == ".venv/bin/poller"
    assert own_command(".venv/bin/poller", which=path_with()) == ".venv/bin/poller"
    assert own_command("my tools/poller", which=path_with()) == "'my tools/poller'"


def test_a_module_is_called_by_its_interpreter() -> None:
    """`python -m poller` says so, with the interpreter that runs it."""
    called, python = "/lib/poller/__main__.py", "/opt/v env/bin/python"
    other = path_with(python="/usr/bin/python")
    assert own_command(called, python=python, which=other) == "'/opt/v env/bin/python' -m poller"
    same = path_with(python=python)
    assert own_command(called, python=python, which=same) == "python -m poller"
