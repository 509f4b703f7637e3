"""The trace that a send belongs to, after W3C Trace Context (https://www.w3.org/TR/trace-context/).

It comes with the registration, and events carry it unchanged: the poller adds no span of its own.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

TRACEPARENT: Final = "00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
"""A `traceparent` of version 00: neither the trace nor the parent is all zeros."""

_NAME: Final = r"[_a-z0-9*/-]"
_KEY: Final = rf"(?:[a-z]{_NAME}{{0,255}}|[a-z0-9]{_NAME}{{0,240}}@[a-z]{_NAME}{{0,13}})"
_VALUE: Final = r"[ -+\--<>-~]{0,255}[!-+\--<>-~]"
_MOST_MEMBERS: Final = 32
LONGEST_TRACESTATE: Final = 512
"""Characters that every system must be able to propagate."""

TRACESTATE: Final = rf"{_KEY}={_VALUE}(?:[ \t]*,[ \t]*{_KEY}={_VALUE}){{0,{_MOST_MEMBERS - 1}}}"
"""A `tracestate`: up to 32 members such as `vendor=value`, with commas between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A valid `traceparent`, and the `tracestate` that goes with it.

    :raises ValueError: where one is not valid; it begins with the name.
    """

    traceparent: str
    tracestate: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(TRACEPARENT, self.traceparent):
            raise ValueError(
                "traceparent: must be like 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
            )
        if self.tracestate is not None:
            _check_state(self.tracestate)

    @property
    def members(self) -> Mapping[str, str]:
        """The headers of a request, and the attributes of a CloudEvent, by their names."""
        state = {} if self.tracestate is None else {"tracestate": self.tracestate}
        return {"traceparent": self.traceparent, **state}


def _check_state(text: str) -> None:
    if len(text) > LONGEST_TRACESTATE or not re.fullmatch(TRACESTATE, text):
        raise ValueError(
            f"tracestate: must be up to {_MOST_MEMBERS} members such as vendor=value, with commas "
            f"between, in all at most {LONGEST_TRACESTATE} characters"
        )
    keys = [member.strip().partition("=")[0] for member in text.split(",")]
    if len(set(keys)) < len(keys):
        raise ValueError("tracestate: it contains a key twice")
