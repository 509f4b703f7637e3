"""Mistakes: each has one readable message that names the field, the origin and the fix."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poller.settings import Loaded, SettingsError, load_settings

Load = Callable[..., Loaded]
GOLDEN = tomllib.loads(Path(__file__).with_name("mistakes.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("golden", GOLDEN.values(), ids=GOLDEN)
def test_mistake(load: Load, golden: dict[str, Any]) -> None:
    """Each mistake in `mistakes.toml` has exactly the message that stands beside it."""
    source = {key: value for key, value in golden.items() if key != "message"}
    with pytest.raises(SettingsError) as caught:
        load(**source)
    assert str(caught.value) == f"bad settings: {golden['message']}"


def test_all_mistakes_are_told_at_once(load: Load) -> None:
    """Problems of every source come in one error, a line each for what and for how to mend it."""
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


def test_one_mistake_is_not_told_twice(load: Load) -> None:
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
