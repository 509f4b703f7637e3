"""Scenarios of a send: the shares of its recipients with each outcome, and its cancellation.

Users choose one with the option or tag `fate`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

SHARES: Final = ("fallback", "late", "read", "undelivered", "failed", "unaddressable")
_CODES_END: Final = 1_000_000
_MOST_EACH: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Shares of the recipients, all together at most 1; the rest is delivered promptly.

    A `fallback` is delivered by SMS after RCS failed, a `late` one long after it was sent. A kind
    without such an outcome delivers that share. `codes` are pairs of an error code and the share
    that ends in it. Shares are whole thousandths: for multiples of 1,000 recipients the numbers are
    exact. With `each` instead of shares, every recipient ends in an error: with these codes in
    turn, beginning with the first recipient. `canceled_at` is the part of the sending time after
    which queued messages are canceled. `seconds` is how long the queue takes at speed 1, None for a
    time that depends on its length. `description` is for people.

    :raises ValueError: where a value is out of its range; the message names the field.
    """

    fallback: float = 0.0
    late: float = 0.0
    read: float = 0.0
    undelivered: float = 0.0
    failed: float = 0.0
    unaddressable: float = 0.0
    codes: tuple[tuple[int, float], ...] = ()
    each: tuple[int, ...] = ()
    canceled_at: float | None = None
    seconds: float | None = None
    description: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        codes = [*(code for code, _ in self.codes), *self.each]
        if len(codes) != len(set(codes)) or any(not 0 < code < _CODES_END for code in codes):
            raise ValueError(
                "the codes of a fate must be distinct numbers above 0, of up to 6 digits"
            )
        shares = [getattr(self, name) for name in SHARES] + [share for _, share in self.codes]
        if min(shares) < 0 or sum(shares) > 1 + 1e-9:
            raise ValueError("the shares of a fate must each be 0 or more, and at most 1 in total")
        if len(self.each) > _MOST_EACH:
            raise ValueError(f"a fate has at most {_MOST_EACH} codes in turn")
        if self.each and sum(shares):
            raise ValueError("a fate has either shares, or codes in turn (each), not both")
        if self.canceled_at is not None and not 0 <= self.canceled_at < 1:
            raise ValueError(f"canceled_at is {self.canceled_at!r}; give a part of 1, such as 0.5")
        if self.seconds is not None and not 0 < self.seconds < float("inf"):
            raise ValueError(f"seconds is {self.seconds!r}; give seconds above 0")


SCENARIOS: Final[Mapping[str, Scenario]] = {
    "ordinary": Scenario(
        fallback=0.08,
        late=0.05,
        read=0.3,
        undelivered=0.03,
        failed=0.02,
        unaddressable=0.01,
        description="most are delivered, some read, 6 % fail in several ways",
    ),
    "smooth": Scenario(description="every message is delivered"),
    "troubled": Scenario(
        fallback=0.15,
        late=0.1,
        read=0.1,
        undelivered=0.12,
        failed=0.18,
        unaddressable=0.05,
        description="35 % fail, and others are late or delivered by another channel",
    ),
    "canceled": Scenario(
        read=0.2,
        undelivered=0.03,
        failed=0.02,
        canceled_at=0.5,
        description="canceled halfway: what is still queued is not sent",
    ),
    # Of 10,000 recipients 700 end in one of five errors, each with a different count.
    "failing": Scenario(
        fallback=0.08,
        read=0.3,
        codes=((30003, 0.025), (30005, 0.018), (30006, 0.013), (61337, 0.009), (21610, 0.005)),
        description="7 % end in one of five errors, each with a different count",
    ),
}


def scenario_named(name: str) -> Scenario:
    """Return the scenario of that name.

    :raises ValueError: if there is none; the message lists the known names.
    """
    if name not in SCENARIOS:
        raise ValueError(f"unknown fate {name!r}; one of: {', '.join(SCENARIOS)}")
    return SCENARIOS[name]


def parse_scenario(value: object) -> Scenario:
    """Read a scenario from JSON: a name, or an object with its members.

    `codes` is an object such as `{"30003": 0.025}`, `each` a list such as `[30003, 21610]`.

    :raises ValueError: where it is neither; the message names the member.
    """
    if not isinstance(value, dict):
        return scenario_named(str(value))
    known = {member.name for member in fields(Scenario) if member.compare}
    if unknown := value.keys() - known:
        raise ValueError(f"fate.{min(unknown)} is unknown; one of: {', '.join(sorted(known))}")
    members: dict[str, Any] = {
        name: _number(member, f"fate.{name}")
        for name, member in value.items()
        if name not in {"codes", "each"}
    }
    return Scenario(
        **members, codes=_codes(value.get("codes", {})), each=_each(value.get("each", []))
    )


def _codes(value: object) -> tuple[tuple[int, float], ...]:
    if not isinstance(value, dict) or not all(code.isdecimal() for code in value):
        raise ValueError('fate.codes must be an object such as {"30003": 0.025}')
    return tuple((int(code), _number(share, f"fate.codes.{code}")) for code, share in value.items())


def _each(value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or any(type(code) is not int for code in value):
        raise ValueError("fate.each must be a list of codes, such as [30003, 21610]")
    return tuple(value)


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124 - NaN
        raise ValueError(f"{name} is {value!r}, not a number")
    return value
