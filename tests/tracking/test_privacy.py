"""Which parts of a message may be stored and emitted."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from poller.tracking.privacy import (
    Addresses,
    attempt_changes,
    attempt_statuses,
    channel_of,
    public_error,
    public_message,
    public_name,
    public_url,
    shown_addresses,
)
from tests.examples import times
from tests.tracking.planted import JSON, MESSAGES, TEXTS

_DOCUMENTS = Path(__file__).parent.parent / "comms" / "documents"
SAMPLE: dict[str, Any] = json.loads((_DOCUMENTS / "message.json").read_text())
"""The vendor's."""

_thorough = settings(max_examples=times(2))


def test_the_vendors_message_without_addresses() -> None:
    """Everything but the addresses and the content stays as it is."""
    expected = copy.deepcopy(SAMPLE)
    del expected["content"]
    for holder in (expected, *expected["attempts"]):
        del holder["from"]["address"]
        for recipient in holder["to"]:
            del recipient["address"]
    assert public_message(SAMPLE, Addresses.HIDDEN) == expected


def test_addresses_are_shown_where_they_are_wanted() -> None:
    """Masked or in full, those of senders and of attempts too; the content never."""
    masked = public_message(SAMPLE, Addresses.MASKED)
    assert masked["to"] == [{"address": "+1415•••1002", "channel": "PHONE"}]
    assert masked["attempts"][0]["from"]["address"] == "bo•••er"
    assert masked["attempts"][1]["to"] == [{"address": "+1415•••1002", "channel": "PHONE"}]
    full = public_message(SAMPLE, Addresses.FULL)
    assert full == {name: value for name, value in SAMPLE.items() if name != "content"}
    assert shown_addresses(SAMPLE, Addresses.MASKED) == ["+1415•••1002"]
    assert shown_addresses(SAMPLE, Addresses.FULL) == ["+14153901002"]
    assert shown_addresses(SAMPLE, Addresses.HIDDEN) == []


def test_one_recipient_may_stand_without_a_list() -> None:
    """A guide shows `to` of an email so."""
    email = {"id": "x", "to": {"address": "jane@example.com", "channel": "EMAIL", "name": "Jane"}}
    assert public_message(email, Addresses.HIDDEN) == {"id": "x", "to": [{"channel": "EMAIL"}]}
    assert channel_of(email) == "EMAIL"
    assert shown_addresses(email, Addresses.FULL) == ["jane@example.com"]


def _texts(value: object) -> Iterator[str]:
    """Yield every text and every name in a document."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, member in value.items():
            yield name
            yield from _texts(member)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _longest_run_of_digits(text: str) -> int:
    longest = run = 0
    for character in text:
        run = run + 1 if character.isdigit() else 0
        longest = max(longest, run)
    return longest


def _planted(document: object) -> set[str]:
    """Return the addresses that are planted in a document."""
    return {
        text
        for text in _texts(document)
        if ("jane" in text and "@" in text) or sum(c.isdigit() for c in text) >= 7
    } - {"2023-08-24T14:15:22Z"}


@_thorough
@given(raw=MESSAGES)
def test_nothing_planted_shows(raw: dict[str, Any]) -> None:
    """No address anywhere; no text but where the vendor's and the customer's own words stand."""
    shown = public_message(raw, Addresses.HIDDEN)
    shown_text = "\n".join(_texts(shown))
    for address in _planted(raw):
        assert address not in shown_text
    assert "jane" not in shown_text
    for attempt in shown.get("attempts", ()):
        if attempt.get("error"):
            attempt["error"]["message"] = None
    shown_text = "\n".join(_texts({name: value for name, value in shown.items() if name != "tags"}))
    for text in TEXTS:
        assert text not in shown_text


@_thorough
@given(raw=MESSAGES)
def test_masked_addresses_are_not_whole(raw: dict[str, Any]) -> None:
    """Masking shows no planted address either."""
    shown_text = "\n".join(_texts(public_message(raw, Addresses.MASKED)))
    for address in _planted(raw):
        assert address not in shown_text


@_thorough
@given(raw=MESSAGES)
def test_what_is_shown_can_be_stored(raw: dict[str, Any]) -> None:
    """As JSON in any database; it is stable, and its names are those of the list."""
    shown = public_message(raw, Addresses.FULL)
    json.dumps(shown, allow_nan=False).encode()
    assert all(text.isprintable() for text in _texts(shown))
    assert shown.keys() <= SAMPLE.keys() - {"content"}
    assert public_message(shown, Addresses.FULL) == shown
    changes = attempt_changes((), shown)
    assert [change["status"] or "" for change in changes if change["status"]] == [
        status for status in attempt_statuses(shown) if status
    ]
    assert attempt_changes(attempt_statuses(shown), shown) == []


@given(raw=JSON)
def test_any_json_is_survived(raw: object) -> None:
    """By every function that takes a piece of it."""
    public_error(raw)
    public_name(raw)
    public_url(raw)
    if isinstance(raw, dict):
        public_message(raw, Addresses.FULL)
        channel_of(raw)
        shown_addresses(raw, Addresses.MASKED)


def test_sizes_are_bounded() -> None:
    """Attempts, recipients, related things, tags and texts."""
    recipient = {"address": "+14155551002", "channel": "PHONE"}
    attempt = {"to": [recipient] * 99, "error": {"code": 1, "message": "word " * 999}}
    shown = public_message(
        {
            "to": [recipient] * 10_000,
            "attempts": [attempt] * 99,
            "related": [{"name": "SESSION"}] * 99,
            "tags": {f"tag-{number}": "x" for number in range(99)},
            "id": "x" * 999,
        },
        Addresses.FULL,
    )
    assert len(shown["to"]) == 50
    assert len(shown["attempts"]) == 50
    assert len(shown["attempts"][0]["to"]) == 5
    assert len(shown["attempts"][0]["error"]["message"]) == 500
    assert len(shown["related"]) == 10
    assert len(shown["tags"]) == 10
    assert "id" not in shown


def test_a_tag_with_an_address_is_left_out() -> None:
    """Whether it is in the key or in the value; the others stay as they are."""
    tags = {"campaign": "spring 2026", "to": "+14155551002", "jane@example.com": "x", "n": 5}
    assert public_message({"tags": tags}, Addresses.FULL) == {"tags": {"campaign": "spring 2026"}}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (30003, 30003),
        ("30003", 30003),
        ("carrier-rejected", "carrier-rejected"),
        (14155551002, None),
        ("14155551002", None),
        (-1, None),
        (True, None),
        (30003.0, None),
        ("two words", None),
        (None, None),
        ([], None),
    ],
)
def test_a_code_is_a_number_or_a_word(code: object, expected: object) -> None:
    """Anything else is no code, least of all a phone number."""
    assert public_error({"code": code}) == {"code": expected, "message": None, "infoUrl": None}


@pytest.mark.parametrize(
    "url", ["https://www.twilio.com/docs/api/errors/30003", "http://127.0.0.1:8000/x"]
)
def test_a_url_stays_as_it_is(url: str) -> None:
    """Nothing of it is lost."""
    assert public_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "https://example.com/?to=%2B14155551002",
        "https://example.com/" + "a" * 300,
        "https://example.com/a b",
        "https://example.com/\n",
        7,
    ],
)
def test_what_is_no_url_to_follow_is_left_out(url: object) -> None:
    """It is short, leads to the web and holds no address."""
    assert public_url(url) is None


def test_changes_of_attempts() -> None:
    """A new attempt and a changed one are emitted; others are not emitted again."""
    failed = {"code": 61337, "message": "No RCS.", "infoUrl": None}
    message = public_message(
        {
            "attempts": [
                {"from": {"channel": "RCS"}, "status": "FAILED", "error": failed},
                {"to": [{"channel": "PHONE"}], "status": "SENT", "error": None},
                {"status": 7},
            ]
        },
        Addresses.HIDDEN,
    )
    first = {
        "attempt": 1,
        "channel": "RCS",
        "previousStatus": "SENT",
        "status": "FAILED",
        "error": failed,
    }
    second = {
        "attempt": 2,
        "channel": "PHONE",
        "previousStatus": None,
        "status": "SENT",
        "error": None,
    }
    third = {
        "attempt": 3,
        "channel": None,
        "previousStatus": None,
        "status": None,
        "error": None,
    }
    assert attempt_changes(["SENT"], message) == [first, second, third]
    assert attempt_changes(["FAILED", "SENT", ""], message) == []
    assert attempt_statuses(message) == ("FAILED", "SENT", "")
    assert attempt_changes(["FAILED", "SENT", "", "SENT"], {}) == []
