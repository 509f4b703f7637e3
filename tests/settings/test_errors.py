"""Guesses: a typo is recognised, another word is not."""

import pytest

from poller.settings.errors import suggestion

SETTINGS = ["type", "events", "labels", "url", "secret", "headers", "timeout"]
EVENTS = ["*", "final", "operation.*", "operation.scheduled", "operation.completed", "message.read"]


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("tpye", SETTINGS, "type"),
        ("Secrte", SETTINGS, "secret"),
        ("header", SETTINGS, "headers"),
        ("retries", SETTINGS, None),
        ("kafka", ["stdout", "file", "webhook"], None),
        ("webhok", ["stdout", "file", "webhook"], "webhook"),
        ("operation.complete", EVENTS, "operation.completed"),
        ("operations.completed", EVENTS, "operation.completed"),
        ("operation.finished", EVENTS, None),  # not scheduled, although most letters agree
        ("operation", EVENTS, "operation.*"),
        ("Final", EVENTS, "final"),
        ("interval", ["min_interval", "max_interval"], None),  # either of them
        ("", SETTINGS, None),
        ("x", [], None),
    ],
)
def test_only_what_is_close_is_suggested(word: str, known: list[str], meant: str | None) -> None:
    """A wrong guess is worse than none."""
    assert suggestion(word, known) == meant
