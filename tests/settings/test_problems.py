"""Mistakes: each has one readable message that names the field, the origin and the fix."""

import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from poller.settings import (
    Loaded,
    Settings,
    SettingsError,
    SettingsProblem,
    load_settings,
    problems,
)

Load = Callable[..., Loaded]
GOLDEN = tomllib.loads(Path(__file__).with_name("mistakes.toml").read_text(encoding="utf-8"))

# What each part of the settings' core schema can find wrong.
ERRORS = {
    "bool": {"bool_type", "bool_parsing"},
    "dict": {"dict_type"},
    "float": {"float_type", "float_parsing"},
    "function-after": {"fault"},
    "function-before": {"fault"},
    "int": {"int_type", "int_parsing", "int_parsing_size", "int_from_float"},
    "is-instance": {"path_type"},
    "literal": {"literal_error"},
    "model": {"model_type"},
    "model-fields": {"extra_forbidden", "missing"},
    "str": {"string_type"},
    "tagged-union": {"union_tag_invalid", "union_tag_not_found"},
    "tuple": {"tuple_type"},
}
CONSTRAINTS = {
    "ge": "greater_than_equal",
    "gt": "greater_than",
    "le": "less_than_equal",
    "lt": "less_than",
    "min_length": "too_short",
    "max_length": "too_long",
}
PLAIN = set("default json-or-python lax-or-strict model-field no-info nullable union".split())
LIBRARY = re.compile(
    "Input should|Value error|Extra inputs|Field required|Unable to|[Pp]ydantic|<class"
)
# The sources refuse a value that stands for a table before pydantic sees it.
UNSEEN = {"dict_type", "model_type"}
# What a file of TOML cannot hold.
ODD = {
    "api.max_concurrency": ["9" * 5000, "\udcff"],
    "server.listen": ["unix:/\udcff", "\ud800"],
    "api.base_url": ["\udcff"],
    "sinks.app.type": ["\udcff"],
}


@pytest.mark.parametrize("golden", GOLDEN.values(), ids=GOLDEN)
def test_mistake(load: Load, golden: dict[str, Any]) -> None:
    """Each mistake in `mistakes.toml` has exactly the message that stands beside it."""
    source = {key: value for key, value in golden.items() if key != "message"}
    with pytest.raises(SettingsError) as caught:
        load(**source)
    assert str(caught.value) == f"bad settings: {golden['message']}"


def test_all_mistakes_are_reported_at_once(load: Load) -> None:
    """Problems of every source come in one error, a line each for the fault and the fix."""
    with pytest.raises(SettingsError) as caught:
        load(
            '[polling]\nsettle = "x"\n[foo]\n',
            overrides=["log.level=loud"],
            env={"POLLER_NOPE": "1"},
        )
    lines = str(caught.value).splitlines()
    assert lines[0] == "bad settings, 4 problems:"
    assert len(lines) == 9
    assert {problem.field for problem in caught.value.problems} == {
        "POLLER_NOPE",
        "foo",
        "polling.settle",
        "log.level",
    }


def test_one_mistake_is_not_reported_twice(load: Load) -> None:
    """A misspelt key is not also reported as the missing one."""
    with pytest.raises(SettingsError) as caught:
        load('[sinks.app]\ntpye = "stdout"')
    assert [problem.field for problem in caught.value.problems] == ["sinks.app.tpye"]


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda _: None, "cannot be read: No such file or directory"),
        (lambda path: path.mkdir(), "cannot be read: Is a directory"),
        (lambda path: path.write_bytes(b"\xff"), "not text in UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, make: Callable[[Path], object], what: str
) -> None:
    """A file that was asked for must be there and be text."""
    path = tmp_path / "poller.toml"
    make(path)
    with pytest.raises(SettingsError) as caught:
        load_settings(config=path, overrides=[], environ={"POLLER_API__TIMEOUT": "x"})
    assert [problem.field for problem in caught.value.problems] == [str(path)]
    assert what in str(caught.value)


def _possible(schema: Any) -> Iterator[str]:  # noqa: ANN401 - a schema is any nesting
    """Yield each type of error that a core schema can raise."""
    if isinstance(schema, list | tuple):
        for part in schema:
            yield from _possible(part)
    if not isinstance(schema, dict):
        return
    kind = schema.get("type")
    if isinstance(kind, str):
        yield from () if kind in PLAIN else ERRORS[kind]  # a new kind of schema: add it there
        yield from (error for name, error in CONSTRAINTS.items() if name in schema)
        if schema.get("allow_inf_nan") is False:
            yield "finite_number"
    for name, part in schema.items():
        if name not in {"serialization", "metadata"}:
            yield from _possible(part)


def test_every_error_of_pydantic_has_a_sentence(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each type of error that the model can raise is in `mistakes.toml`, in words of our own."""
    raised: set[str] = set()
    explain = problems.problems_in

    def spy(error: ValidationError, *given: Any) -> list[SettingsProblem]:  # noqa: ANN401 - passed on
        raised.update(detail["type"] for detail in error.errors())
        return explain(error, *given)

    monkeypatch.setattr("poller.settings.loading.problems_in", spy)
    said = []
    for golden in GOLDEN.values():
        with pytest.raises(SettingsError):
            load(**{"toml": "", **{key: golden[key] for key in golden if key != "message"}})
        said.append(golden["message"])
    for name, values in ODD.items():
        for value in values:
            with pytest.raises(SettingsError) as caught:
                load("", overrides=[f"{name}={value}"])
            said.append(str(caught.value))
    possible = set(_possible(Settings.__pydantic_core_schema__))
    assert len(possible) > 15
    assert possible <= raised | UNSEEN
    for text in said:
        assert not LIBRARY.search(text), text
        assert "a value that this setting can have" not in text


@pytest.mark.parametrize(
    ("number", "words"),
    [("9" * 5000, "poller.toml: not TOML"), ("0x" + "f" * 5000, "= a very large number")],
)
def test_numbers_that_python_does_not_write(load: Load, number: str, words: str) -> None:
    """Python refuses to read or to write integers of thousands of digits."""
    with pytest.raises(SettingsError) as caught:
        load(f"[api]\nmax_concurrency = {number}")
    assert words in str(caught.value)


def test_a_number_that_python_does_not_read_in_json(load: Load) -> None:
    """It is an error of the variable, like every other broken JSON."""
    with pytest.raises(SettingsError, match="a number is too long"):
        load(env={"POLLER_SINKS__APP": '{"labels": {"a": ' + "9" * 5000 + "}}"})
