"""Trouble: what people read, when it begins and when it is over."""

from datetime import UTC, datetime, timedelta

import pytest

from poller.cli.watch.news import Trouble, trouble_after
from poller.comms import errors
from poller.comms.gate import Pause, Reason

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
PAUSE = Pause(
    reason=Reason.THROTTLED, since=NOW, set_at=NOW, until=NOW + timedelta(seconds=12), level=1
)
BEFORE = Trouble(what="account paused (429)", fault=errors.Fault.OURS, until=PAUSE.until)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            errors.Unauthorized("fetch x", "the API answered 401", status=401, text="Authenticate"),
            "credentials refused (401 Authenticate); check the account id",
        ),
        (
            errors.Forbidden("fetch x", "the API answered 403", status=403),
            "access refused (403); give the API key access",
        ),
        (
            errors.Throttled("fetch x", "the API answered 429", status=429, text="Too many"),
            "account paused (429 Too many)",
        ),
        (errors.Unavailable("fetch x", "the API answered 503", status=503), "account paused (503)"),
        (errors.NetworkError("fetch x", "no connection: refused"), "API unreachable: no conn"),
        (errors.DeadlineExceeded("fetch x", "no answer in 10 s"), "API unreachable: no answer"),
        (
            errors.ServerError("fetch x", "the API answered 500", status=500),
            "API failing: the API answered 500",
        ),
        (errors.Unexpected("fetch x", "the body is not JSON"), "API failing: the body is not"),
    ],
    ids=["401", "403", "429", "503", "network", "deadline", "500", "html"],
)
def test_each_error_is_reported_in_words(error: errors.CommsError, words: str) -> None:
    """Every failure that is not one operation's has a sentence that names it."""
    trouble = trouble_after(None, error, pause=None, fatal=False)
    assert trouble is not None
    assert trouble.what.startswith(words)
    assert trouble.fault is error.fault


@pytest.mark.parametrize("error", [None, errors.NotFound("x", "404"), errors.Rejected("x", "400")])
def test_any_answer_ends_a_trouble(error: errors.CommsError | None) -> None:
    """Success, and an answer about one operation, show that the API is there."""
    assert trouble_after(BEFORE, error, pause=None, fatal=False) is None


def test_a_late_answer_does_not_end_a_pause() -> None:
    """While the account is paused, an answer to an older request changes nothing."""
    assert trouble_after(BEFORE, None, pause=PAUSE, fatal=False) == BEFORE


def test_a_pause_is_reported_with_its_end() -> None:
    """A pause says how long it lasts."""
    error = errors.Throttled("x", "the API answered 429", status=429)
    trouble = trouble_after(None, error, pause=PAUSE, fatal=False)
    assert trouble is not None
    assert trouble.until == PAUSE.until


def test_a_fatal_refusal_says_all_there_is_to_say() -> None:
    """The last word names what was asked, what was answered and what to do."""
    error = errors.Unauthorized("fetch operation x", "the API answered 401", status=401)
    trouble = trouble_after(None, error, pause=None, fatal=True)
    assert trouble is not None
    assert trouble.fatal
    assert trouble.what == f"credentials refused: {error}"
