"""Who the poller is to the API: what a credential may look like, and which pair is used."""

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, SecretStr

from poller.settings.errors import Problem, fault

__all__ = ["Credentials", "Password", "UserName", "missing_credentials"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """One complete pair for HTTP Basic: account and token, or API key and its secret."""

    username: str
    password: SecretStr


def missing_credentials(*, key: bool, secret: bool, token: bool) -> Problem:
    """Return why these make no pair, given which are set; `token` is one without its account."""
    if key != secret:
        there, absent = ("KEY", "SECRET") if key else ("SECRET", "KEY")
        return Problem(
            field=f"api.api_{absent.lower()}",
            what=f"missing, although api.api_{there.lower()} is set: half a pair is no credential",
            fix=f"set TWILIO_API_{absent}, as a variable or as a file in the secrets directory",
        )
    if token:
        return Problem(
            field="api.account_sid",
            what="missing, although api.auth_token is set: half a pair is no credential",
            fix="set TWILIO_ACCOUNT_SID",
        )
    return Problem(
        field="api",
        what="no credentials",
        fix="set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN, or TWILIO_API_KEY and TWILIO_API_SECRET,"
        " as variables or as files of these names in lower case in the secrets directory",
    )


def _blank_is_none(value: object) -> object:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    return None if isinstance(text, str) and not text.strip() else value


def _check_user(text: str) -> str:
    if not re.fullmatch(r"[\x21-\x39\x3b-\x7e]+", text):
        raise fault("holds a space, a colon or a special character", "copy it again, it is ASCII")
    return text


def _check_password(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[\x21-\x7e]+", value.get_secret_value()):
        raise fault("holds a space or a special character", "copy it again, it is printable ASCII")
    return value


UserName = Annotated[
    Annotated[str, AfterValidator(_check_user)] | None, BeforeValidator(_blank_is_none)
]
"""The user of HTTP Basic; empty is unset."""

Password = Annotated[
    Annotated[SecretStr, AfterValidator(_check_password)] | None, BeforeValidator(_blank_is_none)
]
"""A credential that is secret and travels in a header; empty is unset."""
