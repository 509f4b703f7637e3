"""The content of one source of settings: each value with its origin, unknown keys, problems.

Values arrive as text, from variables, files and the command line, or as tables of TOML or JSON.
"""

import json
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource

from poller.settings.addresses import StoreUrl
from poller.settings.catalogue import (
    CREDENTIALS,
    NAMED,
    SECTIONS,
    Setting,
    SettingPath,
    SettingShape,
    catalogue,
    dotted,
    env_name,
    find,
    is_section,
    keys_in,
    meant_by,
)
from poller.settings.errors import SettingsProblem
from poller.settings.model import Settings

_SAMPLES: Final[Mapping[str, Mapping[str, object]]] = {
    "sinks": {"app": {"type": "stdout"}},
    "alerts": {"bounces": {"counters": ["failed"], "count": 100}},
}
_MEMBERS: Final[Mapping[str, str]] = {
    "sinks": 'type = "stdout", "file" or "webhook"',
    "alerts": "counters and count, or with stalled",
}
_ANY_TABLE: Final[Mapping[str, str]] = {"key": "value"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcedValue:
    """A value from one source, secrets wrapped, with a description of its origin."""

    value: object
    origin: str
    rank: int
    """The number of keys in its name: `POLLER_SINKS` has 1, `POLLER_SINKS__APP__SECRET` 3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownKey:
    """A key that is not a setting; `variable` is its name if it came from a variable."""

    path: SettingPath
    origin: str
    variable: str | None = None

    @property
    def field(self) -> str:
        """Its name in the form of its source."""
        return self.variable or dotted(self.path)


class OriginSource(PydanticBaseSettingsSource):
    """The content of one source: values `given` by path, `unknown` keys, and `problems`.

    `unread` is true if the source could not be read: then missing values are not reported. With
    `repeats`, a later value of the same rank replaces an earlier one, as on the command line;
    without it that is a problem. A value of a higher rank always wins. The source ignores settings
    outside its `sections`. Messages show how to write a table in a file of TOML with `is_toml`,
    else in a variable.
    """

    def __init__(
        self,
        *,
        sections: Collection[str] = SECTIONS,
        repeats: bool = False,
        is_toml: bool = False,
    ) -> None:
        super().__init__(Settings)
        self.given: dict[SettingPath, SourcedValue] = {}
        self.unknown: list[UnknownKey] = []
        self.problems: list[SettingsProblem] = []
        self.unread = False
        self._ignored = SECTIONS.difference(sections)
        self._repeats = repeats
        self._is_toml = is_toml

    def __call__(self) -> dict[str, Any]:
        """Return the values as the nested tables that pydantic-settings merges."""
        tree: dict[str, Any] = {}
        for path, given in self.given.items():
            node = tree
            for key in path[:-1]:
                node = node.setdefault(key, {})
            if given.value == {}:
                node.setdefault(path[-1], {})
            else:
                node[path[-1]] = given.value
        return tree

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 - the base class names it
        """Return one top-level table; its values are decoded already."""
        return self().get(field_name), field_name, False

    def reads(self, path: SettingPath) -> bool:
        """Whether the path may belong to a section that this source reads."""
        return path[0] not in self._ignored

    def add_text(
        self, path: SettingPath, text: str, origin: str, *, name: str | None = None
    ) -> None:
        """Add a value that is given as text; `name` is the variable that it comes from."""
        row = find(path)
        if not self.reads(path):
            return
        if row is None and not is_section(path):
            self._add_unknown(UnknownKey(path=path, origin=origin, variable=name))
        elif row is not None and (row.shape is SettingShape.SCALAR or len(path) > len(row.path)):
            self.add(path, text, origin)
        elif (
            row is not None and row.shape is SettingShape.LIST and not text.strip().startswith("[")
        ):
            self.add(path, text.replace(",", " ").split(), origin)
        else:
            self._add_decoded(path, text, origin)

    def add(
        self, path: SettingPath, value: object, origin: str, *, rank: int | None = None
    ) -> None:
        """Add a value, or each value of a table."""
        rank = len(path) if rank is None else rank
        row = find(path)
        if not self.reads(path):
            return
        if row is None and not is_section(path):
            self._add_unknown(UnknownKey(path=path, origin=origin))
        elif row is not None and (row.shape is not SettingShape.TABLE or len(path) > len(row.path)):
            self._put(row, path, value, origin, rank)
        elif not isinstance(value, Mapping):
            self._refuse(path, origin, "not a table")
        elif value:
            for key, item in value.items():
                self.add((*path, key), item, origin, rank=rank)
        else:
            self.given.setdefault(path, SourcedValue(value={}, origin=origin, rank=rank))

    def _add_unknown(self, key: UnknownKey) -> None:
        """Keep an unknown key, unless it seems to belong to a section that is ignored."""
        meant = meant_by(key.path)
        section = key.path[0] if meant is None else meant[0]
        if not self._ignored or section in SECTIONS - self._ignored:
            self.unknown.append(key)

    def _put(self, row: Setting, path: SettingPath, value: object, origin: str, rank: int) -> None:
        if row.path in CREDENTIALS and (value is None or not str(value).strip()):
            return
        if path[2:3] == ("headers",):  # header names are case-insensitive
            path = (*path[:3], path[3].lower())
        before = self.given.get(path)
        if before is not None and before.rank == rank and not self._repeats:
            self.problems.append(
                SettingsProblem(
                    field=dotted(path),
                    what=f"given twice, also by {before.origin}",
                    fix="remove one of them",
                    origin=origin,
                )
            )
        elif before is None or before.rank <= rank or self._repeats:
            self.given[path] = SourcedValue(value=_wrapped(row, value), origin=origin, rank=rank)

    def _add_decoded(self, path: SettingPath, text: str, origin: str) -> None:
        try:
            decoded = _decoded(text)
        except ValueError as error:
            self._refuse(path, origin, str(error))
        else:
            self.add(path, decoded, origin)

    def _refuse(self, path: SettingPath, origin: str, what: str) -> None:
        if path[0] not in NAMED:
            what, fix = "a table of settings, not one of them", _section_fix(path[0])
        else:
            fix = _toml_fix(path) if self._is_toml else _json_fix(path)
        self.problems.append(SettingsProblem(field=dotted(path), what=what, fix=fix, origin=origin))


def _wrapped(row: Setting, value: object) -> object:
    """Wrap a secret in a type that hides it if it is printed by accident."""
    if not isinstance(value, str):
        return value
    if row.path == ("store", "url"):
        return StoreUrl(value)
    return SecretStr(value) if row.secret else value


def _decoded(text: str) -> object:
    """Read JSON or a value of TOML; other text, which needs no quotes, is returned unchanged.

    :raises ValueError: where a table or a list is broken; it says where, and repeats no value.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        fault = f"not valid JSON: {error.msg} (line {error.lineno}, column {error.colno})"
    except (ValueError, RecursionError):  # a number of 5,000 digits, 5,000 brackets
        fault = "not valid JSON: a number is too long, or brackets are nested too deeply"
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        if text.lstrip().startswith(("{", "[")):
            raise ValueError(fault) from None
    return text


def _json_fix(path: SettingPath) -> str:
    """Say how to write a table or a list in a variable or on the command line."""
    row = find(path)
    example: object = _SAMPLES.get(path[0])
    if row is not None:
        example = next(iter(row.field.examples or ()), _ANY_TABLE)
    elif len(path) > 1:
        (example,) = _SAMPLES[path[0]].values()
    return f"write it as JSON, such as {json.dumps(example)}"


def _toml_fix(path: SettingPath) -> str:
    """Say how to write a table in a file."""
    row = find(path)
    if row is None:
        (name,) = path[1:2] if path[1:] and path[1] not in keys_in(path[0]) else _SAMPLES[path[0]]
        return f"write a table [{path[0]}.{name}] with {_MEMBERS[path[0]]}"
    example: Mapping[str, str] = next(iter(row.field.examples or ()), _ANY_TABLE)
    members = ", ".join(f"{key} = {json.dumps(value)}" for key, value in example.items())
    return f"write it like {path[-1]} = {{ {members} }}"


def _section_fix(section: str) -> str:
    one = next(row.path for row in catalogue() if row.path[0] == section)
    return f"set one of its settings, such as {dotted(one)} ({env_name(one)})"
