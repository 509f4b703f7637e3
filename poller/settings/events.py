"""Which events a sink can subscribe to, and the patterns that name them."""

from typing import Annotated, Final

from pydantic import AfterValidator, WithJsonSchema

from poller.settings.errors import fault
from poller.suggest import suggestion

__all__ = ["EVENT_TYPES", "FINAL", "EventPattern", "check_pattern"]

FINAL: Final = "final"
"""The word that subscribes to the one event of each watch that ends it."""

EVENT_TYPES: Final = (
    "operation.scheduled",
    "operation.processing",
    "operation.progress",
    "operation.changed",
    "operation.completed",
    "operation.canceled",
    "operation.settled",
    "operation.lost",
    "operation.breakdown",
    "message.scheduled",
    "message.queued",
    "message.sent",
    "message.group",
    "message.progress",
    "message.changed",
    "message.delivered",
    "message.read",
    "message.undelivered",
    "message.failed",
    "message.canceled",
    "message.inbound",
    "message.settled",
    "message.lost",
)
"""Every type that a sink may ask for; a watched thing is an operation or a message."""

_FAMILIES: Final = tuple(dict.fromkeys(f"{name.partition('.')[0]}.*" for name in EVENT_TYPES))
_PATTERNS: Final = ("*", FINAL, *_FAMILIES, *EVENT_TYPES)


def check_pattern(text: str) -> str:
    """Return the pattern as it stands: `*`, `final`, a family such as `operation.*`, or a type.

    :raises PydanticCustomError: if no event can ever match it; names a close one that does.
    """
    if text not in _PATTERNS:
        meant = suggestion(text, _PATTERNS)
        nearest = "" if meant is None else f'the nearest is "{meant}"; '
        raise fault("matches no event", f'{nearest}write "*", "{FINAL}", "operation.*" or a type')
    return text


EventPattern = Annotated[
    str,
    AfterValidator(check_pattern),
    WithJsonSchema({"type": "string", "enum": list(_PATTERNS)}),
]
