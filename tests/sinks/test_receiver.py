"""What a user may say about a webhook's receiver."""

import pytest

from poller.addresses import Unusable
from poller.sinks.receiver import RESERVED_HEADERS, check_header, check_url


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
