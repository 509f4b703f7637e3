"""The commands that the program prints call the program that printed them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from poller.cli.invocation import own_command


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
