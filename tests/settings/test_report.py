"""The files in `config/`: complete, true, and fresh."""

import importlib.util
import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from poller.settings import Loaded, WebhookSinkSettings, describe
from poller.settings.catalogue import catalogue, dotted, env_name
from poller.settings.report import json_schema

Load = Callable[..., Loaded]
CONFIG = Path(__file__).parents[2] / "config"
ANNOTATED = (CONFIG / "poller.toml").read_text(encoding="utf-8")
EVERYTHING = re.sub(r"(?m)^#(?=\[|[a-z_]+ = )", "", ANNOTATED)
EXAMPLES = {"type", "path", "url"}


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """Return the script that writes the generated files."""
    spec = importlib.util.spec_from_file_location("generate", CONFIG / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_annotated_file_changes_nothing(load: Load) -> None:
    """As it ships, the file equals the defaults."""
    assert load(ANNOTATED) == load()


def test_the_annotated_file_shows_the_defaults(load: Load) -> None:
    """With every line of it taken in, each setting still has the default of the code."""
    loaded, defaults = load(EVERYTHING), load()
    shown = {row.field: row.value for row in describe(loaded)}
    for row in describe(defaults):
        assert shown[row.field] == row.value
    for name, sink in loaded.settings.sinks.items():
        for key, field in type(sink).model_fields.items():
            if key not in EXAMPLES:
                default = field.get_default(call_default_factory=True, validated_data={})
                assert getattr(sink, key) == default, f"{name}.{key}"


def test_the_annotated_file_has_every_setting() -> None:
    """Nothing that can be set is missing from it, in the section where it belongs."""
    section, found = "", set[str]()
    for line in ANNOTATED.splitlines():
        if header := re.fullmatch(r"#?\[([a-z.]+)\]", line):
            section = re.sub(r"^(sinks|alerts)\..*", r"\1.*", header[1])
        elif key := re.match(r"# ?([a-z_]+) = ", line):
            found.add(f"{section}.{key[1]}")
    assert found == {dotted(row.path) for row in catalogue()}


def test_the_reference_has_every_setting() -> None:
    """Each setting has a row with its name and its variable in the README."""
    page = (CONFIG / "README.md").read_text(encoding="utf-8")
    for row in catalogue():
        path = ["<name>" if key == "*" else key for key in row.path]
        assert f"| `{dotted(path)}` |" in page
        assert f"`{env_name(path)}`" in page
        assert row.field.description


def test_generated_files_are_fresh(generate: ModuleType) -> None:
    """Schema and table are what the code says now; `python config/generate.py` makes them so."""
    schema = (CONFIG / "settings.schema.json").read_text(encoding="utf-8")
    page = (CONFIG / "README.md").read_text(encoding="utf-8")
    assert schema == generate.schema_text()
    assert page == generate.readme(page)


def test_the_environment_example_loads(load: Load) -> None:
    """Every line of it, taken in, is understood; its empty secrets are to be filled in."""
    text = (CONFIG / "poller.env.example").read_text(encoding="utf-8")
    lines = re.findall(r"(?m)^#?([A-Z_]+)=(.*)$", text)
    assert len(lines) > 10
    env = {name: value or "whsec_" + "QUJD" * 8 for name, value in lines}
    del env["POLLER_CONFIG"], env["POLLER_SECRETS_DIR"]
    loaded = load(env=env)
    assert isinstance(loaded.settings.sinks["app"], WebhookSinkSettings)
    assert loaded.settings.api.credentials is not None


def _valid(document: dict[str, Any]) -> bool:
    return Draft202012Validator(json_schema()).is_valid(document)


def test_the_schema_agrees_with_the_code() -> None:
    """The schema is one, takes the annotated file, and refuses what the code refuses."""
    Draft202012Validator.check_schema(json.loads(json.dumps(json_schema())))
    assert _valid(tomllib.loads(EVERYTHING))
    bad: dict[str, Any]
    for bad in (
        {"nope": {}},
        {"polling": {"max_intervall": "5s"}},
        {"polling": {"max_interval": "5x"}},
        {"sinks": {"Bad": {"type": "stdout"}}},
        {"sinks": {"a": {}}},
        {"sinks": {"a": {"type": "webhook"}}},
        {"sinks": {"a": {"type": "stdout", "events": ["operation.complete"]}}},
        {"sinks": {"a": {"type": "stdout", "events": []}}},
    ):
        assert not _valid(bad), bad
