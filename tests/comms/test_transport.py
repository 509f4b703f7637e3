"""From a whole answer to a document or an error."""

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.comms import errors
from poller.comms.decoding import Nonsensical
from poller.comms.errors import CommsError, Fault
from poller.comms.transport import Answer, decode_answer, read_refusal
from tests.comms.scripted import CREDENTIALS, NOW, envelope


def refusal(status: int, body: object = b"", **headers: str) -> CommsError:
    """Return what a refusal with this status, body and headers means."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = Answer(status=status, headers=fields, body=content)
    return read_refusal(answer, action="fetch x", now=NOW, redact=CREDENTIALS.redact)


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (400, errors.Rejected),
        (401, errors.Unauthorized),
        (403, errors.Forbidden),
        (404, errors.NotFound),
        (429, errors.Throttled),
        (500, errors.ServerError),
        (502, errors.ServerError),
        (503, errors.Unavailable),
        (504, errors.ServerError),
        (301, errors.Unexpected),
        (304, errors.Unexpected),
        (407, errors.Unexpected),
        (409, errors.Unexpected),
        (418, errors.Unexpected),
        (600, errors.Unexpected),
    ],
)
def test_the_status_decides_the_class(status: int, cls: type[CommsError]) -> None:
    """With the vendor's envelope or a gateway's page, which are distinguished."""
    enveloped = refusal(status, envelope())
    assert type(enveloped) is cls
    assert (enveloped.status, enveloped.code, enveloped.enveloped) == (status, 20404, True)
    assert enveloped.text == "The resource was not found"
    bare = refusal(status, b"<html>Bad gateway</html>")
    assert type(bare) is cls
    assert (bare.status, bare.code, bare.text, bare.enveloped) == (status, None, None, False)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b'"errors"',
        {"errors": []},
        {"errors": [None]},
        {"errors": [{}]},
        {"errors": {"code": 1}},
        {"errors": [{"code": "x", "message": 4}]},
        [envelope()],
    ],
)
def test_what_is_no_envelope_does_not_count_as_one(body: object) -> None:
    """Only the vendor may say that an operation is lost."""
    assert not refusal(404, body).enveloped


def test_the_older_style_is_shown_but_is_no_envelope() -> None:
    """It helps people, and decides nothing."""
    error = refusal(401, {"code": 20003, "message": "Authenticate", "status": 401})
    assert (error.code, error.text, error.enveloped) == (20003, "Authenticate", False)


def test_a_compressed_envelope_is_read() -> None:
    """Refusals may be compressed too."""
    body = gzip.compress(json.dumps(envelope(7, "x")).encode())
    assert refusal(400, body, content_encoding="gzip").code == 7


def test_what_the_api_says_is_bounded_printable_and_redacted() -> None:
    """A server that echoes the credentials, or drives terminals, is not passed on."""
    echo = f"\x1b[31m {CREDENTIALS.authorization()}\nopen-sesame-42 " + "x" * 10_000
    error = refusal(401, envelope(1, echo))
    assert error.text is not None
    assert error.text.startswith("[31m Basic ********** ********** xxx")
    assert len(error.text) == 300
    assert len(str(error)) < 600


def test_what_the_api_says_holds_no_address() -> None:
    """A refusal may quote whom a message was for."""
    said = "The number +14155551002 of jane@example.com cannot be reached."
    error = refusal(400, envelope(21211, said))
    assert error.text == "The number ••• of ••• cannot be reached."
    assert "1002" not in str(error)


def test_retry_after_is_read_on_any_refusal() -> None:
    """As seconds, or as a date against the answer's own."""
    assert refusal(429, retry_after="7").retry_after == 7
    date = "Sun, 22 Nov 2026 11:00:00 GMT"
    later = "Sun, 22 Nov 2026 11:01:00 GMT"
    assert refusal(503, retry_after=later, date=date).retry_after == 60
    assert refusal(500, retry_after="31536000").retry_after == 31536000
    assert refusal(429).retry_after is None


@pytest.mark.parametrize(("status", "hint"), [(302, "redirects"), (407, "proxy")])
def test_detours_are_a_matter_of_configuration(status: int, hint: str) -> None:
    """Redirects and proxies that want a password are said to be just that."""
    error = refusal(status)
    assert error.fault is Fault.CONFIGURATION
    assert hint in error.hint


def decoded(body: bytes, decode: Any = lambda document: document, **headers: str) -> object:  # noqa: ANN401 - any decoder
    """Return the document of a successful answer of at most 1000 bytes."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = Answer(status=200, headers=fields, body=body)
    return decode_answer(answer, decode, action="fetch x", limit=1000)


def test_a_success_is_decoded() -> None:
    """Plain and compressed."""
    assert decoded(b'{"a": 1}') == {"a": 1}
    assert decoded(gzip.compress(b"[2]"), content_encoding="gzip") == [2]


def _nonsense(_: object) -> None:
    raise Nonsensical("stats is missing or null, not an object")


def test_each_failure_has_its_class() -> None:
    """HTML, nonsense and bombs are distinguished, and no error keeps its cause."""
    with pytest.raises(errors.Unexpected, match="HTML") as unexpected:
        decoded(b"<html>")
    with pytest.raises(errors.NonsensicalAnswer, match="stats is missing") as nonsense:
        decoded(b"{}", _nonsense)
    with pytest.raises(errors.TooLarge, match="over 1000 bytes") as bomb:
        decoded(gzip.compress(b" " * 100_000), content_encoding="gzip")
    for raised in (unexpected, nonsense, bomb):
        assert raised.value.status == 200
        assert raised.value.__context__ is None
    assert type(unexpected.value) is errors.Unexpected


@given(st.integers(300, 999), st.binary(max_size=200), st.text(max_size=60))
def test_any_refusal_is_some_error(status: int, body: bytes, value: str) -> None:
    """Whatever comes back, it has a class and a sentence on one line."""
    error = refusal(status, body, retry_after=value, date=value, content_encoding=value)
    assert str(error).isprintable()
