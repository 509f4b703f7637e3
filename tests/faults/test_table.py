"""The table of misbehaviours names only tests and log events that there are, and every test."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from poller.tracking.sink_health import SinkState
from tests.faults.table import Row, read_table

_HERE: Final = Path(__file__).parent
_CODE: Final = _HERE.parents[1] / "poller"
_OF_THEIR_OWN: Final = frozenset({"test_table.py"})


@cache
def _code() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in _CODE.rglob("*.py"))


@cache
def _functions(file: str) -> frozenset[str]:
    tree = ast.parse((_HERE / file).read_text(encoding="utf-8"))
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    return frozenset(
        node.name
        for node in tree.body
        if isinstance(node, functions) and node.name.startswith("test_")
    )


def test_there_are_rows() -> None:
    """The page is read as the table that it is."""
    assert len(read_table()) > 50
    assert all(row.happens and row.does and row.logs and row.tests for row in read_table())


@pytest.mark.parametrize("row", read_table(), ids=lambda row: row.tests[0])
def test_a_row(row: Row) -> None:
    """Its tests are there, with the cases that it names, and its log events are in the code."""
    for test in row.tests:
        file, _, name = test.partition("::")
        function, _, case = name.removesuffix("]").partition("[")
        assert function in _functions(file)
        assert not case or f'id="{case}"' in (_HERE / file).read_text(encoding="utf-8")
    states = {f"sink.{state}" for state in SinkState}
    for event in row.logs:
        assert re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", event)
        # a name of a state of a sink is put together from the state
        assert f'"{event}"' in _code() or event in states


def test_every_test_has_a_row() -> None:
    """A misbehaviour that is tested is documented."""
    named = {test.partition("[")[0] for row in read_table() for test in row.tests}
    files = {path.name for path in _HERE.glob("test_*.py")} - _OF_THEIR_OWN
    there = {f"{file}::{name}" for file in files for name in _functions(file)}
    assert there == named
