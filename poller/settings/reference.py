"""The settings described for editors and readers: a JSON Schema and a table, made from the code."""

import json
from collections.abc import Iterable
from typing import Any, Final

from poller.settings.addresses import StoreUrl
from poller.settings.catalogue import Setting, catalogue, dotted, env_name
from poller.settings.display import is_duration
from poller.settings.durations import format_duration
from poller.settings.model import Settings
from poller.settings.sinks import SINK_NAME
from poller.settings.sources import VENDOR_NAMES

__all__ = ["json_schema", "table"]

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
    sinks = schema["properties"]["sinks"]
    sinks["propertyNames"] = {"pattern": f"^{SINK_NAME}$"}
    sinks["additionalProperties"].pop("discriminator")
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
    """Return a property without the null that TOML does not have, durations as they are written."""
    member.pop("title", None)
    choices = [choice for choice in member.get("anyOf", []) if choice != {"type": "null"}]
    if len(choices) == 1:
        del member["anyOf"], member["default"]
        return {**choices[0], **member}
    if choices:
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
    return "sinks.<name>" if section == "sinks" else section


def _shown_default(row: Setting) -> str:
    if row.path[-1] == "type" or row.field.is_required():
        return "required"
    default = _default(row)
    return "unset" if default is None else f"`{json.dumps(default)}`"


def _default(row: Setting) -> Any:  # noqa: ANN401 - whatever JSON can hold
    default = row.field.get_default(call_default_factory=True, validated_data={})
    if isinstance(default, StoreUrl):
        return default.get_secret_value()
    return format_duration(default) if is_duration(row) else default


def _row(*path: str) -> Setting:
    return next(row for row in catalogue() if row.path == path)
