"""Types that several settings share: tables, numbers, user names, passwords, tokens."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, SecretStr

from poller.settings.errors import SettingsProblem, fault


class Section(BaseModel):
    """A table of settings: frozen, without unknown keys, without its values in errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _no_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise fault("not a number", "write a number without quotes")
    return value


Count = Annotated[int, BeforeValidator(_no_boolean)]
"""A whole number; `true` is refused, although Python takes it for 1."""

Rate = Annotated[float, BeforeValidator(_no_boolean)]
"""A number per second."""


def missing_credentials(*, key: bool, secret: bool, token: bool) -> SettingsProblem:
    """Return which half of a pair is missing; `token` is a token without its account."""
    if key != secret:
        there, absent = ("KEY", "SECRET") if key else ("SECRET", "KEY")
        return SettingsProblem(
            field=f"api.api_{absent.lower()}",
            what=f"missing, although api.api_{there.lower()} is set: half a pair is no credential",
            fix=f"set TWILIO_API_{absent}, as a variable or as a file in the secrets directory",
        )
    if token:
        return SettingsProblem(
            field="api.account_sid",
            what="missing, although api.auth_token is set: half a pair is no credential",
            fix="set TWILIO_ACCOUNT_SID",
        )
    return SettingsProblem(
        field="api",
        what="no credentials",
        fix="set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN, or TWILIO_API_KEY and TWILIO_API_SECRET,"
        " as variables or as files of these names in lower case in the secrets directory",
    )


def _blank_is_none(value: object) -> object:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    return None if isinstance(text, str) and not text.strip() else value


def _check_user(text: str) -> str:
    if not text.isprintable() or re.search(r"[\s:]", text):
        raise fault("holds a space, a colon or a control character", "copy it again")
    return text


def _check_password(value: SecretStr) -> SecretStr:
    if re.search(r"[\x00-\x1f\x7f]", value.get_secret_value()):
        raise fault("holds a line break or another control character", "write it on one line")
    return value


def _check_token(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[\x21-\x7e]+", value.get_secret_value()):
        raise fault(
            "a token is printable ASCII without spaces", "make one with: openssl rand -hex 32"
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
"""A bearer token, which must fit into a header as it is (RFC 6750, section 2.1); empty is unset."""
