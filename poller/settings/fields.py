"""Types that several settings share: tables, durations, numbers, user names, passwords, tokens."""

import math
import re
from collections.abc import Callable
from typing import Annotated, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    SecretStr,
    WithJsonSchema,
)

from poller.settings.errors import SettingsProblem, fault

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_WRITTEN: Final = re.compile(r"(\d{1,18}(?:\.\d{1,9})?) ?(ms|s|m|h|d)?", re.ASCII)
_EXAMPLES: Final = 'write a number and a unit, such as "500ms", "5s", "2m", "1h", "7d", or seconds'


def parse_duration(value: object) -> float:
    """Return the seconds in `"500ms"`, `"5s"`, `"2m"`, `"1h"`, `"7d"`, or in a number of seconds.

    :raises PydanticCustomError: if it is anything else, negative or not finite.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = _as_float(value)
    elif isinstance(value, str) and (written := _WRITTEN.fullmatch(value.strip())):
        seconds = float(written[1]) * _UNITS[written[2] or "s"]
    else:
        raise fault("not a duration", _EXAMPLES)
    if not math.isfinite(seconds) or seconds < 0:
        raise fault("a duration must be finite and not negative", _EXAMPLES)
    return seconds


def format_duration(seconds: float) -> str:
    """Write seconds for people: `90.0` → `"90s"`, `120.0` → `"2m"`, `0.5` → `"500ms"`.

    It uses the largest unit that gives a whole number of two or more. `parse_duration` reads the
    result as the same number.
    """
    for unit in ("d", "h", "m"):
        if seconds >= 2 * _UNITS[unit] and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:.0f}{unit}"
    milliseconds = round(seconds * 1000)
    if 0 < seconds < 1 and milliseconds * 0.001 == seconds:
        return f"{milliseconds}ms"
    return f"{seconds:.0f}s" if seconds.is_integer() else f"{seconds!r}s"


def between(least: str, most: str) -> Callable[[float], float]:
    """Return a validator that keeps a duration within these bounds, both included."""
    low, high = parse_duration(least), parse_duration(most)

    def check(seconds: float) -> float:
        if not low <= seconds <= high:
            raise fault(f"outside {least} to {most}", f"write a duration from {least} to {most}")
        return seconds

    return check


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^\s*\d{1,18}(\.\d{1,9})? ?(ms|s|m|h|d)?\s*$"},
                {"type": "number", "minimum": 0},
            ]
        }
    ),
]
"""A length of time: float seconds, finite, not negative."""


class Section(BaseModel):
    """A table of settings: frozen, without unknown keys, without its values in errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _no_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise fault("not a number", "write a number without quotes")
    return value


Count = Annotated[int, BeforeValidator(_no_boolean)]
"""A whole number; `true` is refused, although it equals 1 in Python."""

Rate = Annotated[float, BeforeValidator(_no_boolean)]
"""A number per second."""


def missing_credentials(
    *, key: bool, secret: bool, token: bool, client: bool, client_secret: bool
) -> SettingsProblem:
    """Return the problem of the missing credentials; `token` means a token without its account."""
    if client != client_secret:
        there, absent = ("id", "secret") if client else ("secret", "id")
        return SettingsProblem(
            field=f"api.oauth_client_{absent}",
            what=f"missing, although api.oauth_client_{there} is set: both are needed",
            fix=f"set POLLER_API__OAUTH_CLIENT_{absent.upper()}, as a variable or as a file in the "
            "secrets directory",
        )
    if key != secret:
        there, absent = ("KEY", "SECRET") if key else ("SECRET", "KEY")
        return SettingsProblem(
            field=f"api.api_{absent.lower()}",
            what=f"missing, although api.api_{there.lower()} is set: both are needed",
            fix=f"set TWILIO_API_{absent}, as a variable or as a file in the secrets directory",
        )
    if token:
        return SettingsProblem(
            field="api.account_sid",
            what="missing, although api.auth_token is set: both are needed",
            fix="set TWILIO_ACCOUNT_SID",
        )
    return SettingsProblem(
        field="api",
        what="no credentials",
        fix="set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN, or TWILIO_API_KEY and TWILIO_API_SECRET,"
        " as variables or as files of these names in lower case in the secrets directory",
    )


def missing_hint_access(*, has_url: bool) -> SettingsProblem:
    """Return the problem of unguarded pushes; `has_url`: whether `server.hints_url` is set."""
    signature = (
        "api.auth_token, which signs them"
        if has_url
        else "server.hints_url, for pushes that are signed with api.auth_token"
    )
    return SettingsProblem(
        field="server.hints",
        what="anybody could push hints: neither HTTP Basic nor a signature can be checked",
        fix=f"set server.hints_user and server.hints_password, or {signature}",
    )


def _blank_is_none(value: object) -> object:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    return None if isinstance(text, str) and not text.strip() else value


def _check_user(text: str) -> str:
    if not text.isprintable() or re.search(r"[\s:]", text):
        raise fault("contains a space, a colon or a control character", "copy it again")
    return text


def _check_password(value: SecretStr) -> SecretStr:
    if re.search(r"[\x00-\x1f\x7f]", value.get_secret_value()):
        raise fault("contains a line break or another control character", "write it on one line")
    return value


def _check_token(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[\x21-\x7e]+", value.get_secret_value()):
        raise fault(
            "a token must be printable ASCII without spaces",
            "make one with: openssl rand -hex 32",
        )
    return value


UserName = Annotated[
    Annotated[str, AfterValidator(_check_user)] | None, BeforeValidator(_blank_is_none)
]
"""The user of HTTP Basic; empty is unset."""

Password = Annotated[
    Annotated[SecretStr, AfterValidator(_check_password)] | None, BeforeValidator(_blank_is_none)
]
"""The password of HTTP Basic; empty is unset."""

Token = Annotated[
    Annotated[SecretStr, AfterValidator(_check_token)] | None, BeforeValidator(_blank_is_none)
]
"""A bearer token, of characters allowed in a header (RFC 6750, section 2.1); empty is unset."""
