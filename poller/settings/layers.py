"""One source's share of the settings: flat, checked against the catalogue, its origins kept."""

import json
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource

from poller.settings.addresses import StoreUrl
from poller.settings.catalogue import (
    CREDENTIALS,
    SECTIONS,
    Setting,
    SettingPath,
    SettingShape,
    catalogue,
    dotted,
    env_name,
    find,
    is_section,
)
from poller.settings.errors import SettingsProblem
from poller.settings.model import Settings

__all__ = ["SettingsSource", "SourcedValue", "UnknownKey"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcedValue:
    """A value as it was found, secrets wrapped, and where, in words."""

    value: object
    origin: str
    rank: int
    """How many keys its source named: `POLLER_SINKS` 1, `POLLER_SINKS__APP__SECRET` 3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownKey:
    """A key that is no setting; `variable` is its name where it came as a variable."""

    path: SettingPath
    origin: str
    variable: str | None = None

    @property
    def field(self) -> str:
        """Its name as its source writes it."""
        return self.variable or dotted(self.path)


class SettingsSource(PydanticBaseSettingsSource):
    """What one source gives: `given` by path, `unknown` keys, and `problems` of its own.

    `unread` says that there was more which could not be read, so that something may seem missing.
    `repeats` says that a later value of the same rank replaces an earlier one, as on the command
    line; elsewhere it is a problem. Values of a higher rank always win. What belongs to none of
    the `sections` is passed over, right or wrong.
    """

    def __init__(self, *, sections: Collection[str] = SECTIONS, repeats: bool = False) -> None:
        super().__init__(Settings)
        self.given: dict[SettingPath, SourcedValue] = {}
        self.unknown: list[UnknownKey] = []
        self.problems: list[SettingsProblem] = []
        self.unread = False
        self._others = SECTIONS.difference(sections)
        self._repeats = repeats

    def __call__(self) -> dict[str, Any]:
        """Return the share as the nested tables that pydantic-settings merges."""
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
        """Return one top-level table; nothing in it needs decoding."""
        return self().get(field_name), field_name, False

    def reads(self, path: SettingPath) -> bool:
        """Whether this layer is about that path."""
        return path[0] not in self._others

    def add_text(
        self, path: SettingPath, text: str, origin: str, *, name: str | None = None
    ) -> None:
        """Take a value that is written as text; `name` is what its source calls it."""
        row = find(path)
        if not self.reads(path):
            return
        if row is None and not is_section(path):
            self.unknown.append(UnknownKey(path=path, origin=origin, variable=name))
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
        """Take a value, or a table of them, down to single settings."""
        rank = len(path) if rank is None else rank
        row = find(path)
        if not self.reads(path):
            return
        if row is None and not is_section(path):
            self.unknown.append(UnknownKey(path=path, origin=origin))
        elif row is not None and (row.shape is not SettingShape.TABLE or len(path) > len(row.path)):
            self._put(row, path, value, origin, rank)
        elif not isinstance(value, Mapping):
            self._refuse_no_table(path, origin)
        elif value:
            for key, item in value.items():
                self.add((*path, key), item, origin, rank=rank)
        else:
            self.given.setdefault(path, SourcedValue(value={}, origin=origin, rank=rank))

    def _put(self, row: Setting, path: SettingPath, value: object, origin: str, rank: int) -> None:
        if row.path in CREDENTIALS and (value is None or not str(value).strip()):
            return
        if path[2:3] == ("headers",):  # names of headers know no case
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
        decoded = _decoded(text)
        if decoded is None:
            self._refuse_no_table(path, origin)
        else:
            self.add(path, decoded, origin)

    def _refuse_no_table(self, path: SettingPath, origin: str) -> None:
        row = find(path)
        if row is not None and row.shape is SettingShape.LIST:
            what, fix = "not a list", 'write it like ["operation.*"]'
        elif row is not None or path[:1] == ("sinks",):
            what, fix = "not a table of values", 'write a table, as JSON {"key": "value"}'
        else:
            one = next(row.path for row in catalogue() if row.path[0] == path[0])
            what = "not a setting but a table of them"
            fix = f"set one of them, such as {dotted(one)} ({env_name(one)})"
        self.problems.append(SettingsProblem(field=dotted(path), what=what, fix=fix, origin=origin))


def _wrapped(row: Setting, value: object) -> object:
    """Return the value so that it can be shown by accident without harm."""
    if not isinstance(value, str):
        return value
    if row.path == ("store", "url"):
        return StoreUrl(value)
    return SecretStr(value) if row.secret else value


def _decoded(text: str) -> object:
    """Return what the text says in JSON, else in TOML, else None."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return None
