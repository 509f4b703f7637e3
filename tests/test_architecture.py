"""The map for newcomers is true: every place that it names is there, and it stays short."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
MAP = (ROOT / "ARCHITECTURE.md").read_text()
PLACES = sorted(set(re.findall(r"`((?:[\w.]+/)+[\w.]*)(?::([\w.]+))?`", MAP)))


def test_every_place_on_the_map_exists() -> None:
    """Files, folders, classes, functions and methods."""
    assert [":".join(place) for place in PLACES if not _exists(*place)] == []


def test_the_map_is_short() -> None:
    """A long map is of no use."""
    assert len(MAP.splitlines()) <= 120
    assert len(PLACES) > 40


def _exists(file: str, name: str) -> bool:
    found = [each for each in (ROOT / "poller" / file, ROOT / file) if each.exists()]
    return bool(found) and (not name or name in _names(ast.parse(found[0].read_text()).body))


def _names(body: list[ast.stmt], prefix: str = "") -> set[str]:
    found = set()
    for node in body:
        match node:
            case ast.ClassDef():
                found |= {prefix + node.name} | _names(node.body, f"{prefix}{node.name}.")
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                found.add(prefix + node.name)
            case ast.Assign():
                found |= {prefix + each.id for each in node.targets if isinstance(each, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                found.add(prefix + name)
            case _:
                pass
    return found
