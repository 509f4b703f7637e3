"""Credentials for the Communications API: account and token, API key and secret, or OAuth."""

import base64
from dataclasses import dataclass, field

from pydantic import SecretStr


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A pair for HTTP Basic (RFC 7617): account id and auth token, or API key and API secret.

    Neither half shows in `repr`. Equal pairs are equal, so that a change can be noticed.

    :raises ValueError: where a half is empty, holds a control character, or the username holds a
        colon; the message names the half and repeats nothing of it.
    """

    username: str = field(repr=False)
    password: SecretStr = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse what Basic cannot carry."""
        _check(self.username, "the account id or API key")
        _check(self.password.get_secret_value(), "the auth token or API secret")
        if ":" in self.username:
            raise ValueError("the account id or API key holds a colon; no such id does")

    def authorization(self) -> str:
        """Return the value of the `Authorization` header: ASCII, whatever the pair holds."""
        pair = f"{self.username}:{self.password.get_secret_value()}"
        return "Basic " + base64.b64encode(_encode(pair)).decode("ascii")

    def redact(self, text: str) -> str:
        """Return `text` without the password, plain or as in the header: an answer may echo it."""
        secrets = (self.password.get_secret_value(), self.authorization().removeprefix("Basic "))
        for secret in secrets:
            text = text.replace(secret, "**********")
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthCredentials:
    """A client of the vendor's OAuth service at `token_url`. The secret does not show in `repr`."""

    client_id: str = field(repr=False)
    client_secret: SecretStr = field(repr=False)
    token_url: str


AnyCredentials = Credentials | OAuthCredentials
"""The ways to authenticate at the API: HTTP Basic, or a token from OAuth."""


def _check(half: str, name: str) -> None:
    if not half:
        raise ValueError(f"{name} is empty")
    try:
        _encode(half)
    except UnicodeEncodeError:
        raise ValueError(f"{name} is not text") from None
    if any(ord(character) < ord(" ") or character == "\x7f" for character in half):
        raise ValueError(
            f"{name} holds a line break or another control character; "
            "write it on one line, without anything around it"
        )


def _encode(text: str) -> bytes:
    # Python decodes bytes of the environment that are not UTF-8 as surrogates; send those bytes.
    return text.encode("utf-8", "surrogateescape")
