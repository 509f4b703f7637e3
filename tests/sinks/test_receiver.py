"""A webhook's receiver: which URLs and headers are refused, and what its answers mean."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.addresses import Unusable
from poller.sinks.base import SinkVerdict
from poller.sinks.receiver import RESERVED_HEADERS, check_header, check_url, interpret, scrub


@pytest.mark.parametrize(
    "url", ["https://app.example/hook", "http://127.0.0.1:8000", "https://[::1]:9/x?token=1"]
)
def test_good_urls(url: str) -> None:
    """Anything one can post to is taken."""
    check_url(url)


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("", "not an http or https URL"),
        ("app.example/hunter2", "not an http or https URL"),
        ("ftp://app.example/hunter2", "not an http or https URL"),
        ("https:///hunter2", "not an http or https URL"),
        ("https://app.example:0/hunter2", "not an http or https URL"),
        ("https://app.example:99999/hunter2", "not a URL"),
        ("https://[hunter2/", "not a URL"),
        ("https://app.example/hunter2 x", "no spaces"),
        ("https://app.example/hunter2\n", "no spaces"),
        ("https://app.example/hünter2", "special characters"),
        ("https://me:hunter2@app.example/", "belong in headers"),
        ("https://app.example/#hunter2", "fragment"),
    ],
)
def test_bad_urls(url: str, fault: str) -> None:
    """What is no address is refused with the fix, and not repeated."""
    with pytest.raises(Unusable, match=fault) as caught:
        check_url(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"), [("authorization", "Bearer abc"), ("X-Env", "a"), ("user-agent", "me/1")]
)
def test_good_headers(name: str, value: str) -> None:
    """Any header that HTTP allows and that is not ours may be sent."""
    check_header(name, value)


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("", "hunter2", "not a name for a header"),
        ("x y", "hunter2", "not a name for a header"),
        ("x:", "hunter2", "not a name for a header"),
        ("x", "", "header 'x': a header's value is one line"),
        ("x", "hunter2\r\nx: y", "header 'x': a header's value is one line"),
        ("x", "hunter2 ", "header 'x': a header's value is one line"),
        ("x", "hünter2", "header 'x': a header's value is one line"),
        ("Content-Type", "hunter2", "writes this header itself"),
        ("Webhook-Id", "hunter2", "writes this header itself"),
    ],
)
def test_bad_headers(name: str, value: str, fault: str) -> None:
    """A header that would break a request is refused, and its value is not repeated."""
    with pytest.raises(Unusable, match=fault) as caught:
        check_header(name, value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(RESERVED_HEADERS))
def test_our_own_headers(name: str) -> None:
    """What signs or frames a request is ours, however it is written."""
    for written in (name, name.upper()):
        with pytest.raises(Unusable, match="leave it out"):
            check_header(written, "x")


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
