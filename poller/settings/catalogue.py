"""All settings, derived from the models: their names, how each is written, which are secret.

A path is a tuple of keys, such as `("polling", "settle")`. In the catalogue `*` stands for the name
of a sink or an alert. In a table, such as `labels`, the last key is arbitrary.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from poller.settings.alerts import AlertSettings
from poller.settings.errors import suggestion
from poller.settings.model import Settings
from poller.settings.sinks import SINK_TYPES

SettingPath = tuple[str, ...]

PREFIX: Final = "POLLER_"
SECTIONS: Final[frozenset[str]] = frozenset(Settings.model_fields)
"""The names of the top-level tables."""
CREDENTIALS: Final[frozenset[SettingPath]] = frozenset(
    {
        ("api", "account_sid"),
        ("api", "auth_token"),
        ("api", "api_key"),
        ("api", "api_secret"),
        ("api", "oauth_client_id"),
        ("api", "oauth_client_secret"),
        ("server", "token"),
        ("server", "hints_user"),
        ("server", "hints_password"),
    }
)
"""Settings that count as unset when they are empty."""

NAMED: Final[Mapping[str, tuple[type[BaseModel], ...]]] = {
    "sinks": SINK_TYPES,
    "alerts": (AlertSettings,),
}
"""The sections that contain a table for each name, and the models of these tables."""

WEBHOOK_URL: Final[SettingPath] = ("sinks", "*", "url")
"""A secret except for its origin, as `safe_webhook_url` shows it."""

_MAX_DEPTH: Final = 4  # sinks.<name>.headers.<header>; the rest of a path belongs to the last key
_ANY: Final = "*"


class SettingShape(Enum):
    """How a value is written in a variable or on the command line."""

    SCALAR = "scalar"
    LIST = "list"
    TABLE = "table"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One row of the catalogue; for a sink's setting, `sink_types` are the types that have it."""

    path: SettingPath
    shape: SettingShape
    secret: bool
    field: FieldInfo
    sink_types: tuple[str, ...] = ()


@cache
def catalogue() -> tuple[Setting, ...]:
    """Return every setting, in the order of the model."""
    settings: dict[SettingPath, Setting] = {}
    for section, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            for row in _rows((section,), field.annotation):
                settings[row.path] = row
    for model in SINK_TYPES:
        sink_type = str(model.model_fields["type"].default)
        for row in _rows(("sinks", _ANY), model):
            before = settings[row.path].sink_types if row.path in settings else ()
            settings[row.path] = _for_sinks(row, (*before, sink_type))
    for row in _rows(("alerts", _ANY), AlertSettings):
        settings[row.path] = row
    return tuple(settings.values())


def find(path: SettingPath) -> Setting | None:
    """Return the row of this setting, or of the table that contains it; None if unknown."""
    rows = _by_path()
    general = _general(path)
    if (row := rows.get(general)) is not None:
        return row
    row = rows.get(general[:-1])
    return row if row is not None and row.shape is SettingShape.TABLE else None


def is_section(path: SettingPath) -> bool:
    """Whether there are settings below this path; true for the empty path."""
    general = _general(path)
    return any(
        len(row.path) > len(general) and row.path[: len(general)] == general for row in catalogue()
    )


def dotted(path: Iterable[str]) -> str:
    """Write a path for messages and for `--set`: `polling.settle`."""
    return ".".join(path)


def path_of(name: str, separator: str) -> SettingPath:
    """Read a path from its written form: `.` in `--set`, `__` in variables."""
    return tuple(name.split(separator, _MAX_DEPTH - 1))


def env_name(path: Iterable[str]) -> str:
    """Write a path as the name of its environment variable: `POLLER_POLLING__SETTLE`."""
    return PREFIX + "__".join(path).upper()


def keys_in(section: str, *, sink_type: str | None = None) -> list[str]:
    """Return the keys of a section; for sinks those of one type, or without a type of any."""
    return [
        row.path[-1]
        for row in catalogue()
        if row.path[0] == section and (sink_type is None or sink_type in row.sink_types)
    ]


def meant_by(path: SettingPath, *, sink_type: str | None = None) -> SettingPath | None:
    """Return the setting or section that an unknown path most likely means, if one is similar.

    `sink_type` is the type of the sink that it belongs to, None if unknown.
    """
    section = suggestion(path[0], Settings.model_fields)
    if section is None:
        return _underscored(path[0]) if len(path) == 1 else None
    place = (section, path[1]) if section in NAMED and len(path) > 1 else (section,)
    if len(path) == len(place):
        return place
    key = suggestion(path[len(place)], keys_in(section, sink_type=sink_type))
    return None if key is None else (*place, key)


def _underscored(name: str) -> SettingPath | None:
    """Read `api_timeout` and `sinks_app_url`, where a `_` stands for the `__` of a variable."""
    section, _, rest = name.partition("_")
    if section not in Settings.model_fields or not rest:
        return None
    if section not in NAMED:
        key = suggestion(rest, keys_in(section))
        return None if key is None else (section, key)
    ends = [key for key in keys_in(section) if rest.endswith(f"_{key}")]
    return (section, rest.removesuffix(f"_{ends[0]}"), ends[0]) if ends else None


@cache
def _by_path() -> dict[SettingPath, Setting]:
    return {row.path: row for row in catalogue()}


def _general(path: SettingPath) -> SettingPath:
    return (path[0], _ANY, *path[2:]) if len(path) > 1 and path[0] in NAMED else path


def _for_sinks(row: Setting, sink_types: tuple[str, ...]) -> Setting:
    return Setting(
        path=row.path,
        shape=row.shape,
        secret=row.secret,
        field=row.field,
        sink_types=sink_types,
    )


def _rows(prefix: SettingPath, model: type[BaseModel]) -> Iterable[Setting]:
    for name, field in model.model_fields.items():
        types = set(parts_of(field.annotation))
        yield Setting(
            path=(*prefix, name),
            shape=_shape(field.annotation),
            secret=SecretStr in types,
            field=field,
        )


def _shape(annotation: Any) -> SettingShape:  # noqa: ANN401 - an annotation has no narrower type
    origin = get_origin(annotation)
    if origin is tuple:
        return SettingShape.LIST
    return SettingShape.TABLE if origin is dict else SettingShape.SCALAR


def parts_of(annotation: Any) -> Iterable[Any]:  # noqa: ANN401 - as above
    """Yield an annotation and all its nested parts, including metadata."""
    yield annotation
    for argument in get_args(annotation):
        yield from parts_of(argument)
