"""Makes problems from errors: each names the field, the value unless it is secret, and the fix."""

import json
from collections.abc import Mapping
from typing import Any, Final, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from poller.addresses import MASK
from poller.settings.catalogue import (
    NAMED,
    Setting,
    SettingPath,
    dotted,
    env_name,
    find,
    keys_in,
    meant_by,
)
from poller.settings.errors import SettingsProblem, suggestion
from poller.settings.model import Settings
from poller.settings.origins import SourcedValue, UnknownKey
from poller.settings.report import shown
from poller.settings.sinks import SINK_TYPES

_TAGS: Final = tuple(str(model.model_fields["type"].default) for model in SINK_TYPES)
_A_TYPE: Final = ", ".join(f'"{tag}"' for tag in _TAGS)
_NUMBER: Final = ("not a number", "write a number, such as 5 or 0.5")
_WHOLE: Final = ("not a whole number", "write a whole number, such as 4")
_TRUTH: Final = ("neither true nor false", "write true or false")
_TEXT: Final = ("not text", 'write it in quotes, such as "text"')
_TABLE: Final = ("not a table", 'write a table, such as {key = "value"}')
_SIMPLE: Final[Mapping[str, tuple[str, str]]] = {
    "bool_parsing": _TRUTH,
    "bool_type": _TRUTH,
    "dict_type": _TABLE,
    "finite_number": _NUMBER,
    "float_parsing": _NUMBER,
    "float_type": _NUMBER,
    "int_from_float": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "int_type": _WHOLE,
    "model_type": _TABLE,
    "path_type": _TEXT,
    "string_type": _TEXT,
    "string_unicode": ("not text in UTF-8", "write it in UTF-8"),
}


def problems_in(
    error: ValidationError, given: Mapping[SettingPath, SourcedValue]
) -> list[SettingsProblem]:
    """Return a problem for each error that pydantic found; `given` has the values and origins."""
    return [
        _problem(detail, given) for detail in error.errors(include_url=False, include_input=False)
    ]


def unknown_key(unknown: UnknownKey, given: Mapping[SettingPath, SourcedValue]) -> SettingsProblem:
    """Return the problem of an unknown key, with the most similar setting."""
    path = unknown.path
    sink_type = _sink_type(path, given)
    meant = meant_by(path, sink_type=sink_type)
    if meant is not None:
        name = env_name(meant) if unknown.variable else dotted(meant)
        fix = f"the nearest known one is {name}"
    else:
        fix = f"remove it; {_settings_beside(path, sink_type)}"
    return SettingsProblem(
        field=unknown.field,
        what="unknown variable" if unknown.variable else "unknown setting",
        fix=fix,
        origin=None if unknown.variable else unknown.origin,
    )


def _settings_beside(path: SettingPath, sink_type: str | None) -> str:
    section = path[0]
    if section not in Settings.model_fields:
        return f"the tables are {', '.join(Settings.model_fields)}"
    if section == "alerts":
        place = "an alert"
    elif section != "sinks":
        place = f"[{section}]"
    else:
        place = f"a {sink_type} sink" if sink_type else "a sink"
    return f"{place} has {', '.join(keys_in(section, sink_type=sink_type))}"


def _sink_type(path: SettingPath, given: Mapping[SettingPath, SourcedValue]) -> str | None:
    """Return the type of the sink that a path belongs to, None if it is not known."""
    chosen = given.get((*path[:2], "type"))
    return str(chosen.value) if chosen is not None and chosen.value in _TAGS else None


def _problem(detail: ErrorDetails, given: Mapping[SettingPath, SourcedValue]) -> SettingsProblem:
    path = _path(detail)
    what, fix = _what_and_fix(detail, path, given)
    origin, value = _origin_and_value(path, given)
    return SettingsProblem(field=dotted(path), what=what, fix=fix, origin=origin, value=value)


def _path(detail: ErrorDetails) -> SettingPath:
    """Return the path of the setting: pydantic's location without tags, indices and marks."""
    place = [key for key in detail["loc"] if isinstance(key, str) and key != "[key]"]
    if place[0] == "sinks" and len(place) > 2 and place[2] in _TAGS:  # noqa: PLR2004 - sinks.<name>.<tag>
        del place[2]
    if detail["type"].startswith("union_tag"):
        place.append("type")
    if member := detail.get("ctx", {}).get("field"):
        place.append(member)
    return tuple(place)


def _what_and_fix(
    detail: ErrorDetails, path: SettingPath, given: Mapping[SettingPath, SourcedValue]
) -> tuple[str, str]:
    kind: str = detail["type"]
    context: dict[str, Any] = detail.get("ctx", {})
    row = find(path)
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    match kind:
        case "fault":
            words = context["what"], context["fix"]
        case "tuple_type":
            words = "not a list", _example(row, path)
        case "union_tag_invalid":
            words = _bad_type(str(context["tag"]))
        case "union_tag_not_found":
            words = _no_type(path, given)
        case "extra_forbidden":
            words = _misplaced(row, path, given)
        case "literal_error" if row is not None:
            words = "not one of its values", f"write one of {_choices(row.field.annotation)}"
        case "greater_than" | "greater_than_equal" | "less_than_equal":
            words = _bounds(context)
        case "missing":
            words = "missing", _example(row, path)
        case _:
            words = "not a value that this setting can have", _example(row, path)
    return words


def _origin_and_value(
    path: SettingPath, given: Mapping[SettingPath, SourcedValue]
) -> tuple[str | None, str | None]:
    """Return the origin of a value, and the value; if it is missing, the origin of its sink."""
    if (exact := given.get(path)) is not None:
        row = find(path)
        secret = row is None or row.secret or exact.value == {}
        value = MASK if secret else shown(path, exact.value)
        return exact.origin, None if value == MASK else value
    near = path[:2] if path[0] in NAMED else path
    return next(
        (entry.origin for other, entry in given.items() if other[: len(near)] == near), None
    ), None


def _bad_type(tag: str) -> tuple[str, str]:
    meant = suggestion(tag, _TAGS)
    nearest = "" if meant is None else f'the nearest is "{meant}"; '
    return "not a type of sink", f"{nearest}write one of {_A_TYPE}"


def _no_type(path: SettingPath, given: Mapping[SettingPath, SourcedValue]) -> tuple[str, str]:
    """Say what else is set: often a variable adds to a sink of a file that was not named."""
    sink = path[:2]
    present = {key[2]: value for key, value in given.items() if key[:2] == sink and key[2:]}
    rows = [row for key in present if (row := find((*sink, key))) is not None]
    fitting = [tag for tag in _TAGS if all(tag in row.sink_types for row in rows)]
    types = " or ".join(json.dumps(tag) for tag in fitting or _TAGS)
    if not present or any(value.origin.startswith("file ") for value in present.values()):
        return "missing: a sink needs a type", f"write type = {types} into [{dotted(sink)}]"
    fix = f"else set {env_name(path)} to {types}"
    return (
        f"missing: of this sink only {', '.join(present)} is set",
        f"if a file configures this sink, name the file with --config; {fix}",
    )


def _misplaced(
    row: Setting | None, path: SettingPath, given: Mapping[SettingPath, SourcedValue]
) -> tuple[str, str]:
    sink_type = _sink_type(path, given)
    fitting = " or ".join(row.sink_types) if row is not None else "no"
    return (
        f"a {sink_type} sink has no such setting, a {fitting} sink has",
        f"remove it; {_settings_beside(path, sink_type)}",
    )


def _bounds(context: Mapping[str, Any]) -> tuple[str, str]:
    words = {"ge": "at least", "gt": "more than", "le": "at most"}
    name = next(name for name in words if name in context)
    limit = f"{words[name]} {context[name]:g}"
    return f"must be {limit}", f"write a number that is {limit}"


def _choices(annotation: Any) -> str:  # noqa: ANN401 - an annotation has no narrower type
    return ", ".join(json.dumps(choice) for choice in get_args(annotation))


def _example(row: Setting | None, path: SettingPath) -> str:
    if row is None or not row.field.examples:
        return "see the reference of settings, config/README.md"
    return f"write for example {path[-1]} = {json.dumps(row.field.examples[0])}"
