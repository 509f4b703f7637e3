"""What a receiver's answer means for an event."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.sinks.answer import interpret, scrub
from poller.sinks.base import SinkVerdict

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)

VERDICTS = {
    **dict.fromkeys([200, 201, 202, 204, 206, 299], SinkVerdict.DELIVERED),
    **dict.fromkeys([400, 413, 415, 422], SinkVerdict.REFUSED),
    410: SinkVerdict.GONE,
    **dict.fromkeys([101, 301, 302, 304, 307, 308, 401, 403, 404, 408, 409], SinkVerdict.FAILED),
    **dict.fromkeys([425, 429, 499, 500, 502, 503, 504, 599, 600, 999], SinkVerdict.FAILED),
}


@pytest.mark.parametrize(("status", "verdict"), VERDICTS.items())
def test_verdicts(status: int, verdict: SinkVerdict) -> None:
    """Each status has one meaning, and all but success say it in a sentence."""
    outcome = interpret(status=status, headers={}, body=b"", place="https://app", now=NOW)
    assert outcome.verdict is verdict
    assert outcome.status == status
    if verdict is SinkVerdict.DELIVERED:
        assert outcome.error is None
    else:
        assert outcome.error is not None
        assert outcome.error.startswith(f"https://app answered {status}")


def test_the_body_is_shown_as_one_printable_line() -> None:
    """Control characters and broken UTF-8 do not reach a terminal or a log."""
    outcome = interpret(
        status=500, headers={}, body=b"\x1b[31mno\r\n\tway\xff!", place="x", now=NOW
    )
    assert outcome.error == "x answered 500: [31mno way\ufffd!"


def test_a_date_is_read_against_the_answers_own() -> None:
    """A receiver whose clock is wrong by a day still means the minute it says."""
    theirs = NOW + timedelta(days=1)
    headers = {
        "date": format_datetime(theirs, usegmt=True),
        "retry-after": format_datetime(theirs + timedelta(minutes=1), usegmt=True),
    }
    outcome = interpret(status=503, headers=headers, body=b"", place="x", now=NOW)
    assert outcome.retry_after == 60.0


@given(text=st.text(), secret=st.text(min_size=4, alphabet="abcdef"))
def test_no_secret_survives(text: str, secret: str) -> None:
    """Wherever an echo stands, it is cut out."""
    assert secret not in scrub(text + secret + text, [secret, secret[:2]])
