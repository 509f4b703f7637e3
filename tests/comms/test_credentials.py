"""Who asks: what the header says, and what nothing else says."""

import base64
import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from poller.comms.credentials import Credentials

TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1)


def pair(username: str, password: str) -> Credentials:
    """Return credentials of these two halves."""
    return Credentials(username=username, password=SecretStr(password))


@given(TEXT.filter(lambda text: ":" not in text), TEXT)
def test_the_header_is_ascii_and_says_the_pair(username: str, password: str) -> None:
    """Whatever the characters, in UTF-8, on one line."""
    header = pair(username, password).authorization()
    assert header.isascii()
    assert header.isprintable()
    decoded = base64.b64decode(header.removeprefix("Basic ")).decode()
    assert decoded == f"{username}:{password}"


def test_bytes_of_the_environment_leave_as_they_came() -> None:
    """A token that is not UTF-8 is sent unchanged."""
    header = pair("AC1", b"caf\xe9".decode("utf-8", "surrogateescape")).authorization()
    assert base64.b64decode(header.removeprefix("Basic ")) == b"AC1:caf\xe9"


def test_neither_half_shows() -> None:
    """`repr`, `str` and errors of comparison give nothing away."""
    credentials = pair("AC123", "open-sesame")
    for text in (repr(credentials), str(credentials), f"{credentials}"):
        assert "AC123" not in text
        assert "open-sesame" not in text


def test_equal_pairs_are_equal() -> None:
    """So that a change can be noticed."""
    assert pair("AC1", "x") == pair("AC1", "x")
    assert pair("AC1", "x") != pair("AC1", "y")


@pytest.mark.parametrize(
    ("username", "password", "half"),
    [
        ("", "secret-42", "account id"),
        ("AC1", "", "auth token"),
        ("AC1\r\nX-Evil: 1", "secret-42", "account id"),
        ("AC1", "secret-42\n", "auth token"),
        ("AC1", "secret-42\x7f", "auth token"),
        ("AC:1", "secret-42", "account id"),
        ("AC1", "secret-42\ud800", "auth token"),
    ],
)
def test_what_basic_cannot_carry_is_refused(username: str, password: str, half: str) -> None:
    """The message names the half and repeats nothing of it."""
    with pytest.raises(ValueError, match=half) as refused:
        pair(username, password)
    assert "secret" not in str(refused.value).replace("API secret", "")
    assert "AC" not in str(refused.value)


def test_an_echo_is_redacted() -> None:
    """Neither the password nor the header's form of it is left in a text."""
    credentials = pair("AC123", "open-sesame")
    text = f"bad open-sesame in {credentials.authorization()}!"
    assert credentials.redact(text) == "bad ********** in Basic **********!"


def test_they_are_values() -> None:
    """Nobody changes them in place."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        pair("AC1", "x").username = "AC2"  # type: ignore[misc]  # the point of the test
