"""What a user may say about a webhook's receiver."""

import pytest

from poller.sinks.receiver import check_header, check_url


@pytest.mark.parametrize(
    "url", ["https://app.example/hook", "http://127.0.0.1:8000", "https://[::1]:9/x?token=1"]
)
def test_good_urls(url: str) -> None:
    """Anything one can post to is taken."""
    check_url(url)


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("", "must be like"),
        ("app.example/hunter2", "must be like"),
        ("ftp://app.example/hunter2", "must be like"),
        ("https:///hunter2", "must be like"),
        ("https://app.example:99999/hunter2", "must be like"),
        ("https://app.example/hunter2 x", "must be like"),
        ("https://app.example/hunter2\n", "must be like"),
        ("https://[hunter2/", "must be like"),
        ("https://me:hunter2@app.example/", "set the header authorization"),
        ("https://app.example/#hunter2", "fragment"),
    ],
)
def test_bad_urls(url: str, fault: str) -> None:
    """What is no address is refused with the fix, and not repeated."""
    with pytest.raises(ValueError, match=fault) as caught:
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
        ("", "hunter2", "not a header name"),
        ("x y", "hunter2", "not a header name"),
        ("x:", "hunter2", "not a header name"),
        ("x", "", "header x must be"),
        ("x", "hunter2\r\nx: y", "header x must be"),
        ("x", "hunter2 ", "header x must be"),
        ("x", "hünter2", "header x must be"),
        ("Content-Type", "hunter2", "set by the poller"),
        ("Webhook-Id", "hunter2", "set by the poller"),
    ],
)
def test_bad_headers(name: str, value: str, fault: str) -> None:
    """A header that would break a request is refused, and its value is not repeated."""
    with pytest.raises(ValueError, match=fault) as caught:
        check_header(name, value)
    assert "hunter2" not in str(caught.value)
