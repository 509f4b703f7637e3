"""The settings of one alert on operations or groups."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from poller.comms.kinds import KINDS
from poller.settings.errors import fault, suggestion
from poller.settings.fields import Count, Duration, Rate, Section, between
from poller.settings.sinks import SinkName

AlertName = SinkName
"""The name of an alert has the form of the name of a sink."""

_AT_LEAST: Final = 50
_FAILURES: Final = ("failed", "undelivered")
_COUNTERS: Final = tuple(dict.fromkeys(name for kind in KINDS.values() for name in kind.counters))


def _check_counter(name: str) -> str:
    if name not in _COUNTERS:
        meant = suggestion(name, _COUNTERS)
        nearest = "" if meant is None else f'the nearest is "{meant}"; '
        raise fault(
            "not a counter in the API's documentation",
            f"{nearest}write one of {', '.join(sorted(_COUNTERS))}",
        )
    return name


def _check_distinct(counters: tuple[str, ...]) -> tuple[str, ...]:
    twice = next((name for name in counters if counters.count(name) > 1), None)
    if twice is not None:
        raise fault(f"has {twice} twice, which would count it twice", "write it once")
    return counters


_Counter = Annotated[
    str,
    AfterValidator(_check_counter),
    WithJsonSchema({"type": "string", "enum": sorted(_COUNTERS)}),
]


class AlertSettings(Section):
    """One rule, which fires once per operation or group at most: on counters, or on a stall."""

    of: Literal["operation", "group"] = Field(
        default="operation",
        description="what it applies to: each operation, or each group with its members' sums",
    )
    counters: Annotated[tuple[_Counter, ...], AfterValidator(_check_distinct)] = Field(
        default=_FAILURES,
        description="the counters of `stats` whose sum is compared",
        examples=[_FAILURES],
    )
    ratio: Annotated[Rate, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="fires when the sum reaches this share of the finished recipients",
        examples=[0.05],
    )
    count: Annotated[Count, Field(ge=1)] | None = Field(
        default=None, description="fires when the sum reaches this number", examples=[100]
    )
    at_least: Annotated[Count, Field(ge=0)] | None = Field(
        default=None,
        description="does not fire with fewer finished recipients; unset means "
        f"{_AT_LEAST} with a `ratio`, else 0",
        examples=[_AT_LEAST],
    )
    stalled: Annotated[Duration, AfterValidator(between("1s", "7d"))] | None = Field(
        default=None,
        description="fires when nothing has changed for this time, instead of counters; never "
        "while an operation is scheduled or could not be read",
        examples=["15m"],
    )
    labels: dict[str, str] = Field(
        default_factory=dict,
        description="only operations, or groups, with all of these labels; a group has the labels "
        "that all its members share",
        examples=[{"campaign": "autumn"}],
    )

    @model_validator(mode="after")
    def _one_kind_of_rule(self) -> Self:
        """Refuse a rule that could never fire, and one of both kinds."""
        has_threshold = self.ratio is not None or self.count is not None
        if self.stalled is not None:
            others: Mapping[str, object] = {
                "counters": "counters" in self.model_fields_set and self.counters,
                "ratio": self.ratio,
                "count": self.count,
                "at_least": self.at_least is not None,
            }
            given = [name for name, value in others.items() if value]
            if given:
                raise fault(
                    "an alert has either counters or stalled, not both",
                    f"remove {' and '.join(given)}, or move it to another alert",
                    field="stalled",
                )
        elif not self.counters and has_threshold:
            raise fault(
                "an empty list, whose sum never reaches a threshold",
                'leave it out, or write counters = ["failed", "undelivered"]',
                field="counters",
            )
        elif not has_threshold:
            raise fault(
                "has no condition",
                "set ratio or count, with counters, or stalled alone",
            )
        return self

    @property
    def smallest(self) -> int:
        """The smallest number of finished recipients at which it can fire."""
        if self.at_least is not None:
            return self.at_least
        return _AT_LEAST if self.ratio is not None else 0
