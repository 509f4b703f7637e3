"""Whatever is written anywhere: settings, or problems told; never another exception."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from poller.settings import SettingsError, describe, load_settings
from poller.settings.catalogue import catalogue

NOWHERE = {"POLLER_SECRETS_DIR": "/nonexistent"}
PATHS = sorted({tuple("app" if key == "*" else key for key in row.path) for row in catalogue()})
TEXT = st.text(st.characters(exclude_characters="\0"), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def _tree(assignments: dict[tuple[str, ...], Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in assignments.items():
        node = tree
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = value
    return tree


def _loads_or_tells(environ: dict[str, str], overrides: list[str]) -> None:
    told: SettingsError | None = None
    try:
        loaded = load_settings(config=None, overrides=overrides, environ=NOWHERE | environ)
        assert describe(loaded)
    except SettingsError as exc:
        told = exc
    if told is not None:
        assert told.problems
        assert all(problem.what and problem.fix for problem in told.problems)
        assert str(told)


@given(st.dictionaries(st.sampled_from(PATHS), VALUES, min_size=1, max_size=4))
def test_any_value_anywhere_is_taken_or_told(assignments: dict[tuple[str, ...], Any]) -> None:
    """Values of any type and shape, in every place."""
    tables = {f"POLLER_{key.upper()}": json.dumps(v) for key, v in _tree(assignments).items()}
    _loads_or_tells(tables, [])


@given(st.sampled_from(PATHS), TEXT, st.dictionaries(TEXT, TEXT, max_size=3))
def test_any_text_is_taken_or_told(path: tuple[str, ...], text: str, more: dict[str, str]) -> None:
    """Any text as a variable, as a `--set`, and under any name."""
    named = {f"POLLER_{name}": value for name, value in more.items()}
    _loads_or_tells({f"POLLER_{'__'.join(path).upper()}": text, **named}, [])
    _loads_or_tells({}, [f"{'.'.join(path)}={text}", *more, f"sinks.{text}={text}"])
