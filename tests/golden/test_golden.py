"""What other people's programs build on stays as it is: the command line, the control API, the log.

`UPDATE_GOLDEN=1 pytest tests/golden` writes a change that is meant; review it as a diff.
Settings, metrics and events have golden files of their own: `config/` and the event schema.
"""

import ast
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from poller.cli.app import COMMANDS, load_command
from tests.server.conftest import Build, build  # noqa: F401 - a fixture

HERE = Path(__file__).parent
PACKAGE = HERE.parents[1] / "poller"
_LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def compare(name: str, found: str) -> None:
    """Compare with the golden file of that name, or write it where that was asked for."""
    path = HERE / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(found)
    assert found == path.read_text(), f"{name} changed; if that is meant: UPDATE_GOLDEN=1"


def test_the_command_line() -> None:
    """Commands, arguments and options, with their defaults."""
    commands = {
        name: [_parameter(each) for each in load_command(name).params] for name in sorted(COMMANDS)
    }
    assert "run" in commands
    compare("command_line.json", json.dumps(commands, indent=1) + "\n")


@pytest.mark.anyio
async def test_the_control_api(build: Build) -> None:  # noqa: F811 - the fixture
    """Routes, parameters, and the members of bodies and answers; not their descriptions."""
    async with build(token="t") as server:
        document = await server.get("/openapi.json")
    shape = {
        "routes": {
            f"{method.upper()} {path}": {
                "parameters": sorted(each["name"] for each in route.get("parameters", ())),
                "answers": sorted(route["responses"]),
            }
            for path, methods in sorted(document["paths"].items())
            for method, route in sorted(methods.items())
        },
        "members": _members(document["components"]["schemas"]),
    }
    compare("control_api.json", json.dumps(shape, indent=1, sort_keys=True) + "\n")


def test_the_names_of_log_lines() -> None:
    """Operators search for them and alert on them."""
    names = sorted({name for path in PACKAGE.rglob("*.py") for name in _logged(path)})
    assert len(names) > 20
    compare("log_events.txt", "\n".join(names) + "\n")


def _parameter(parameter: Any) -> Mapping[str, Any]:  # noqa: ANN401 - as above
    names = [*parameter.opts, *parameter.secondary_opts]
    default = parameter.default
    return {
        "names": sorted(names),
        "is": parameter.param_type_name,
        "multiple": bool(parameter.multiple) or parameter.nargs == -1,
        "required": parameter.required,
        "default": default if isinstance(default, str | int | float | bool) else None,
    }


def _members(schemas: Mapping[str, Any]) -> Mapping[str, list[str]]:
    """List the members of each object, by name of the schema."""
    return {
        name: sorted(schema["properties"])
        for name, schema in schemas.items()
        if "properties" in schema
    }


def _logged(path: Path) -> Iterator[str]:
    """Read the names of log lines; what is put into a name at run time shows as a star."""
    for node in ast.walk(ast.parse(path.read_text())):
        for argument in _names_in(node):
            parts = getattr(argument, "values", [argument])
            name = "".join(
                str(getattr(part, "value", "*")) if isinstance(part, ast.Constant) else "*"
                for part in parts
            )
            if re.fullmatch(r"[a-z_*]+(\.[a-z_*]+)+", name):
                yield name


def _names_in(node: ast.AST) -> Sequence[ast.expr]:
    """Return the arguments of a call that may name a log line; those of a `TroubleLog` follow."""
    if not isinstance(node, ast.Call):
        return []
    if _is_log_call(node.func):
        return node.args[:1]
    method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    return node.args[1:] if method in {"failure", "success"} else []


def _is_log_call(function: ast.expr) -> bool:
    if isinstance(function, ast.Name):
        return function.id in {"level", "log"}
    return isinstance(function, ast.Attribute) and function.attr in _LEVELS
