"""The contract of an event's shape, for whoever receives or checks one."""

import json
from importlib.resources import files
from typing import Any, cast

__all__ = ["load_event_schema"]


def load_event_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of an event, a fresh copy at every call.

    It is a file of this package, so that receivers in any language can take it from there.
    """
    text = files("poller.tracking").joinpath("event.schema.json").read_text(encoding="utf-8")
    return cast("dict[str, Any]", json.loads(text))
