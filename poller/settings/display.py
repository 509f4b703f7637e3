"""Settings as people read them: every value in force, secrets masked, and where each came from."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import BaseModel, BeforeValidator, SecretStr

from poller.settings.addresses import MASK, StoreUrl, safe_url
from poller.settings.catalogue import Setting, SettingPath, dotted, find
from poller.settings.durations import format_duration, parse_duration
from poller.settings.model import Settings

__all__ = ["DEFAULT", "SettingRow", "is_duration", "rows", "shown", "values"]

DEFAULT = "default"
_LONGEST = 120
_LARGEST = 10**_LONGEST


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRow:
    """One setting in force: its dotted name, its value as text without secrets, its origin."""

    field: str
    value: str
    origin: str


def values(settings: Settings) -> Iterable[tuple[SettingPath, object]]:
    """Yield every setting in order: tables entry by entry, an empty one as itself."""
    for section in Settings.model_fields:
        held = getattr(settings, section)
        if isinstance(held, BaseModel):
            yield from _members((section,), held)
        else:
            for name, sink in held.items():
                yield from _members((section, name), sink)


def rows(settings: Settings, origins: Mapping[str, str]) -> list[SettingRow]:
    """Return the table that `poller check` prints."""
    return [
        SettingRow(
            field=dotted(path),
            value=shown(path, value),
            origin=origins.get(dotted(path), DEFAULT),
        )
        for path, value in values(settings)
    ]


def shown(path: SettingPath, value: object) -> str:
    """Write a setting's value for people: secrets masked, URLs without what may be one."""
    row = find(path)
    if value is None:
        return "unset"
    if value == {}:
        return "{}"
    if isinstance(value, SecretStr) and not isinstance(value, StoreUrl):
        return MASK
    if row is None or row.secret:
        return MASK
    if isinstance(value, float) and math.isfinite(value) and is_duration(row):
        return json.dumps(format_duration(value))
    return _plain(value)


def is_duration(row: Setting) -> bool:
    """Whether this setting is a length of time."""
    return any(
        isinstance(part, BeforeValidator) and part.func is parse_duration
        for part in row.field.metadata
    )


def _members(prefix: SettingPath, model: BaseModel) -> Iterable[tuple[SettingPath, object]]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, Mapping) and value:
            yield from (((*prefix, name, key), item) for key, item in value.items())
        else:
            yield (*prefix, name), value


def _plain(value: object) -> str:
    if isinstance(value, int) and abs(value) > _LARGEST:  # Python refuses to write the largest
        return "a very large number"
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_plain(item) for item in value)}]"
    # Bytes of the environment that are not UTF-8 come as surrogates, which no terminal takes.
    text = str(value).encode("utf-8", "backslashreplace").decode("utf-8")
    text = safe_url(text) if "://" in text or "@" in text else text
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return json.dumps(text, ensure_ascii=False)
