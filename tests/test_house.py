"""The shape of the code: one class per name, short modules and functions, no lists of names."""

import ast
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "poller").rglob("*.py"))
LONGEST_MODULE = 450
LONGEST_FUNCTION = 60
# Each with the reason why it is longer.
LONG_FUNCTIONS = {
    "poller/store/migrations/versions/0100_first.py:upgrade": "a list of tables, as Alembic has it",
    "poller/store/migrations/versions/0102_groups.py:_create_groups": "a list of columns",
    "poller/cli/commands/run.py:command": "its options, each with its help text",
    "poller/cli/commands/list.py:command": "its options, each with its help text",
    "poller/server/metrics.py:__init__": "a list of metrics, with the help text of each",
}

Trees = Mapping[str, ast.Module]


@pytest.fixture(scope="module")
def trees() -> Trees:
    """Parse every module; not when this file is imported, which each worker does."""
    return {
        path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in MODULES
    }


def test_a_class_name_is_used_once(trees: Trees) -> None:
    """A name in a traceback or a message leads to one class."""
    names = Counter(
        node.name
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, uses in names.items() if uses > 1] == []


def test_modules_are_short() -> None:
    """A longer module has two subjects."""
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in MODULES
    }
    assert {path: length for path, length in lengths.items() if length > LONGEST_MODULE} == {}


def test_only_a_room_lists_its_names(trees: Trees) -> None:
    """`__all__` says what a package offers of its modules; in a module an underscore says it."""
    listing = {
        path
        for path, tree in trees.items()
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    }
    assert {path for path in listing if not path.endswith("/__init__.py")} == set()


def test_functions_fit_on_a_screen(trees: Trees) -> None:
    """Except where this file says why not."""
    long = {
        f"{path}:{node.name}"
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno >= LONGEST_FUNCTION
    }
    assert long <= set(LONG_FUNCTIONS)
