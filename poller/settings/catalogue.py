"""The list of all settings, read off the models: what is known, how it is written, what is secret.

A path is a setting's place as a tuple of keys, `("polling", "settle")`. In the catalogue `*` stands
for the name of a sink. Under a table, such as `labels`, the last key is free.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from functools import cache
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from poller.settings.model import Settings
from poller.settings.sinks import SINK_TYPES

__all__ = [
    "CREDENTIALS",
    "PREFIX",
    "Path",
    "Setting",
    "Shape",
    "catalogue",
    "dotted",
    "env_name",
    "find",
    "is_section",
    "nearest",
    "path_of",
]

Path = tuple[str, ...]

PREFIX: Final = "POLLER_"
CREDENTIALS: Final[frozenset[Path]] = frozenset(
    {
        ("api", "account_sid"),
        ("api", "auth_token"),
        ("api", "api_key"),
        ("api", "api_secret"),
        ("server", "token"),
    }
)
"""Those that count as unset when they are empty."""

_MAX_DEPTH: Final = 4  # sinks.<name>.headers.<header>; the rest of a path belongs to the last key
_ANY: Final = "*"


class Shape(Enum):
    """How a value is written where everything is text."""

    SCALAR = "scalar"
    LIST = "list"
    TABLE = "table"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One row of the catalogue; `sink_types` are the types of sink that have it, if a sink's."""

    path: Path
    shape: Shape
    secret: bool
    field: FieldInfo
    sink_types: tuple[str, ...] = ()


@cache
def catalogue() -> tuple[Setting, ...]:
    """Return every setting there is, in order."""
    settings: dict[Path, Setting] = {}
    for section, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            for row in _rows((section,), field.annotation):
                settings[row.path] = row
    for model in SINK_TYPES:
        sink_type = str(model.model_fields["type"].default)
        for row in _rows(("sinks", _ANY), model):
            before = settings[row.path].sink_types if row.path in settings else ()
            settings[row.path] = _for_sinks(row, (*before, sink_type))
    return tuple(settings.values())


def find(path: Path) -> Setting | None:
    """Return the row of this setting, or of the table that it is an entry of."""
    rows = _by_path()
    general = _general(path)
    if (row := rows.get(general)) is not None:
        return row
    row = rows.get(general[:-1])
    return row if row is not None and row.shape is Shape.TABLE else None


def is_section(path: Path) -> bool:
    """Whether there are settings below this path, the root's empty path included."""
    general = _general(path)
    return any(
        len(row.path) > len(general) and row.path[: len(general)] == general for row in catalogue()
    )


def dotted(path: Iterable[str]) -> str:
    """Write a path as in messages and in `--set`: `polling.settle`."""
    return ".".join(path)


def path_of(name: str, separator: str) -> Path:
    """Read a path from its written form: `.` in `--set`, `__` in variables."""
    return tuple(name.split(separator, _MAX_DEPTH - 1))


def env_name(path: Iterable[str]) -> str:
    """Write a path as the name of its environment variable: `POLLER_POLLING__SETTLE`."""
    return PREFIX + "__".join(path).upper()


def nearest(path: Path, *, env: bool = False) -> str:
    """Return the known name nearest to an unknown one, written as `--set` or as a variable does."""
    write = env_name if env else dotted
    sink = path[1] if len(path) > 1 and path[1] else "app"
    known = [write(sink if key == _ANY else key for key in row.path) for row in catalogue()]
    known += [write((section,)) for section in Settings.model_fields]
    return get_close_matches(write(path), known, n=1, cutoff=0)[0]


@cache
def _by_path() -> dict[Path, Setting]:
    return {row.path: row for row in catalogue()}


def _general(path: Path) -> Path:
    return ("sinks", _ANY, *path[2:]) if len(path) > 1 and path[0] == "sinks" else path


def _for_sinks(row: Setting, sink_types: tuple[str, ...]) -> Setting:
    return Setting(
        path=row.path,
        shape=row.shape,
        secret=row.secret,
        field=row.field,
        sink_types=sink_types,
    )


def _rows(prefix: Path, model: type[BaseModel]) -> Iterable[Setting]:
    for name, field in model.model_fields.items():
        types = set(_types_in(field.annotation))
        yield Setting(
            path=(*prefix, name),
            shape=_shape(field.annotation),
            secret=SecretStr in types,
            field=field,
        )


def _shape(annotation: Any) -> Shape:  # noqa: ANN401 - an annotation has no narrower type
    origin = get_origin(annotation)
    if origin is tuple:
        return Shape.LIST
    return Shape.TABLE if origin is dict else Shape.SCALAR


def _types_in(annotation: Any) -> Iterable[Any]:  # noqa: ANN401 - as above
    yield annotation
    for argument in get_args(annotation):
        yield from _types_in(argument)
