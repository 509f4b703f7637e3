"""What a sink's settings may be."""

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from poller.settings import (
    EVENT_TYPES,
    FINAL,
    FileSinkSettings,
    StdoutSinkSettings,
    WebhookSinkSettings,
)
from poller.settings.sinks import FOR_PEOPLE, SUMMARY, check_pattern
from poller.sinks.receiver import RESERVED_HEADERS
from poller.tracking.lifecycle import EventType

SECRET = "whsec_" + "QUJD" * 8


def test_patterns_that_match_something() -> None:
    """Every type, each family, one name in all of them, everything and the end."""
    patterns = ["*", FINAL, SUMMARY, "operation.*", "message.*", "group.*", "*.alert", *EVENT_TYPES]
    assert [check_pattern(pattern) for pattern in patterns] == patterns


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "**",
        "operation",
        "operation.",
        "Operation.*",
        "final.*",
        "op*",
        "*alert",
        "*.test",
        "poller.test",
    ],
)
def test_patterns_that_match_nothing(pattern: str) -> None:
    """What could never match is refused by every type of sink."""
    with pytest.raises(ValidationError):
        StdoutSinkSettings(events=(pattern,))


def test_a_rotating_secret_gives_every_key() -> None:
    """Several secrets separated by spaces sign with several keys, none with none."""
    rotating = WebhookSinkSettings(
        url="https://h/x", secret=SecretStr(f"{SECRET} whsec_{'REVG' * 10}")
    )
    assert rotating.signing_keys == (b"ABC" * 8, b"DEF" * 10)
    assert WebhookSinkSettings(url="https://h/x").signing_keys == ()


@pytest.mark.parametrize(
    "header",
    [*sorted(RESERVED_HEADERS), "Host", "WEBHOOK-ID", "Content-Length", "", "a b", "a:b", "ä"],
)
def test_headers_that_would_break_a_request(header: str) -> None:
    """What signs or frames a request, and what is no name at all, cannot be set."""
    with pytest.raises(ValidationError):
        WebhookSinkSettings(url="https://h/x", headers={header: SecretStr("x")})


@pytest.mark.parametrize("value", ["", " x", "x ", "a\nb", "a\r\nb", "a\0b", "ä"])
def test_values_that_are_no_header(value: str) -> None:
    """A value cannot smuggle in another header."""
    with pytest.raises(ValidationError):
        WebhookSinkSettings(url="https://h/x", headers={"x-a": SecretStr(value)})


def test_every_type_that_is_emitted_can_be_subscribed() -> None:
    """The list of types here and the lifecycle's own agree."""
    assert set(EventType) <= set(EVENT_TYPES)


@pytest.mark.parametrize("path", ["", ".", "/", "a/..", "a\0b"])
def test_paths_that_are_no_file(path: str) -> None:
    """What can only be a directory, or no path at all, is no file to append to."""
    with pytest.raises(ValidationError):
        FileSinkSettings(path=Path(path))


def test_sinks_cannot_be_changed() -> None:
    """Settings are swapped whole, never edited."""
    with pytest.raises(ValidationError):
        StdoutSinkSettings().events = ("final",)


@pytest.mark.parametrize("chat", ["slack", "discord", "teams"])
def test_a_channel_for_people_has_its_own_default(chat: str) -> None:
    """It gets what ended and why messages failed, unless it asks for something else."""
    channel = {"url": "https://h/x", "format": chat}
    assert WebhookSinkSettings.model_validate(channel).events == FOR_PEOPLE
    asked = WebhookSinkSettings.model_validate({**channel, "events": ["operation.*"]})
    assert asked.events == ("operation.*",)
    assert WebhookSinkSettings(url="https://h/x").events == ("*",)


def test_a_channel_for_people_is_not_signed() -> None:
    """A secret would do nothing there, so that it is refused; without one nothing is warned of."""
    channel = {"url": "https://h/x", "format": "slack"}
    with pytest.raises(ValidationError, match="verifies no signature"):
        WebhookSinkSettings.model_validate({**channel, "secret": SECRET})
    assert not WebhookSinkSettings.model_validate(channel).is_unsigned
    assert WebhookSinkSettings(url="https://h/x").is_unsigned


@pytest.mark.parametrize("value", ["Slack", ["slack"], {}, None, 1])
def test_unknown_formats_are_refused(value: object) -> None:
    """Only the four of the list; nothing else breaks the reading."""
    with pytest.raises(ValidationError):
        WebhookSinkSettings.model_validate({"url": "https://h/x", "format": value})
