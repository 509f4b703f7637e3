"""Settings for people: the values in force, the reference and the JSON Schema."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, BeforeValidator, SecretStr

from poller.addresses import MASK, safe_url, safe_webhook_url
from poller.settings.addresses import StoreUrl
from poller.settings.catalogue import (
    NAMED,
    WEBHOOK_URL,
    Setting,
    SettingPath,
    catalogue,
    dotted,
    env_name,
    find,
    parts_of,
)
from poller.settings.fields import format_duration, parse_duration
from poller.settings.model import Settings
from poller.settings.sinks import SINK_NAME
from poller.settings.sources import VENDOR_NAMES

DEFAULT = "default"
_LONGEST = 120
_LARGEST = 10**_LONGEST


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRow:
    """One setting in force: its dotted name, its value as text with secrets masked, its origin."""

    field: str
    value: str
    origin: str


def values(settings: Settings) -> Iterable[tuple[SettingPath, object]]:
    """Yield every setting in order; tables entry by entry, but an empty table as one value."""
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
    """Write a setting's value for people: secrets, and parts of URLs that may be secret, masked.

    The mask alone means that nothing of the value may be shown.
    """
    row = find(path)
    if value is None:
        return "unset"
    if value == {}:
        return "{}"
    is_wrapped = isinstance(value, SecretStr) and not isinstance(value, StoreUrl)
    if row is None or row.secret or is_wrapped:
        return MASK
    if isinstance(value, float) and math.isfinite(value) and is_duration(row):
        return json.dumps(format_duration(value))
    if path[0] == "sinks":
        return _of_sink(row, value)
    return _plain(value)


def _of_sink(row: Setting, value: object) -> str:
    """Write a sink's value: a webhook's URL may also stand in the wrong setting."""
    written = [str(item) for item in value] if isinstance(value, list | tuple) else [str(value)]
    if row.path != WEBHOOK_URL and not any("://" in text for text in written):
        return _plain(value)
    safe = [safe_webhook_url(text) for text in written]
    return MASK if MASK in safe else _plain(safe if isinstance(value, list | tuple) else safe[0])


def is_duration(row: Setting) -> bool:
    """Whether this setting is a length of time."""
    return any(
        isinstance(part, BeforeValidator) and part.func is parse_duration
        for part in (*row.field.metadata, *parts_of(row.field.annotation))
    )


def _members(prefix: SettingPath, model: BaseModel) -> Iterable[tuple[SettingPath, object]]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, Mapping) and value:
            yield from (((*prefix, name, key), item) for key, item in value.items())
        else:
            yield (*prefix, name), value


def _plain(value: object) -> str:
    if isinstance(value, int) and abs(value) > _LARGEST:  # Python refuses to print very large ones
        return "a very large number"
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_plain(item) for item in value)}]"
    # Python decodes bytes that are not UTF-8 as surrogates, which terminals cannot show.
    text = str(value).encode("utf-8", "backslashreplace").decode("utf-8")
    text = safe_url(text) if "://" in text or "@" in text else text
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return json.dumps(text, ensure_ascii=False)


_HEAD: Final = "| setting | default | meaning | variable |\n| --- | --- | --- | --- |"


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the TOML file, for editors and for checks."""
    schema = Settings.model_json_schema()
    models: dict[str, dict[str, Any]] = schema["$defs"]
    for model in models.values():
        for key, member in model["properties"].items():
            model["properties"][key] = _member(member)
        if "type" in model["properties"]:
            model["required"] = ["type", *model.get("required", [])]
    models["StoreSettings"]["properties"]["url"]["default"] = _default(_row("store", "url"))
    for section in NAMED:
        schema["properties"][section]["propertyNames"] = {"pattern": f"^{SINK_NAME}$"}
    schema["properties"]["sinks"]["additionalProperties"].pop("discriminator")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "comms-poller settings",
        "description": "The file that `poller run --config FILE` reads.",
    }


def table() -> str:
    """Return all settings as Markdown, a heading and a table for each section."""
    return "\n\n".join(
        f"### `[{_heading(section)}]`\n\n{_HEAD}\n{_lines(section)}"
        for section in Settings.model_fields
    )


def _member(member: dict[str, Any]) -> dict[str, Any]:
    """Return a property without null, which TOML lacks, and with durations as users write them."""
    member.pop("title", None)
    choices = [choice for choice in member.get("anyOf", []) if choice != {"type": "null"}]
    if len(choices) == 1:
        del member["anyOf"], member["default"]
        return {**choices[0], **member}
    if choices:
        member["anyOf"] = choices
        if member["default"] is None:
            del member["default"]
        else:
            member["default"] = format_duration(member["default"])
    return member


def _lines(section: str) -> str:
    return "\n".join(_line(row) for row in catalogue() if row.path[0] == section)


def _line(row: Setting) -> str:
    meaning = row.field.description or ""
    if row.path[0] == "sinks" and row.path[-1] == "type":
        meaning = (
            "`stdout`: lines on standard output; `file`: lines appended to a file; `webhook`: "
        )
        meaning += "signed HTTP posts to your application"
    elif len(row.sink_types) == 1:
        meaning = f"({row.sink_types[0]}) {meaning}"
    name = dotted(_named(row))
    return f"| `{name}` | {_shown_default(row)} | {meaning} | {', '.join(_variables(row))} |"


def _variables(row: Setting) -> Iterable[str]:
    yield f"`{env_name(_named(row))}`"
    yield from (f"`{name}`" for name, path in VENDOR_NAMES.items() if path == row.path)


def _named(row: Setting) -> Iterable[str]:
    return ("<name>" if key == "*" else key for key in row.path)


def _heading(section: str) -> str:
    return f"{section}.<name>" if section in NAMED else section


def _shown_default(row: Setting) -> str:
    if row.path[-1] == "type" or row.field.is_required():
        return "required"
    default = _default(row)
    return "unset" if default is None else f"`{json.dumps(default)}`"


def _default(row: Setting) -> Any:  # noqa: ANN401 - any JSON value
    default = row.field.get_default(call_default_factory=True, validated_data={})
    if isinstance(default, StoreUrl):
        return default.get_secret_value()
    return format_duration(default) if is_duration(row) and default is not None else default


def _row(*path: str) -> Setting:
    return next(row for row in catalogue() if row.path == path)
