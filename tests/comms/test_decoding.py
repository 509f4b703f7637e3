"""Bytes that nobody vouches for."""

import gzip
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.comms.decoding import Overflow, Undecodable, inflate, parse_json
from tests.comms.scripted import brief


@pytest.mark.parametrize(
    ("body", "document"),
    [
        (b"{}", {}),
        (b"\xef\xbb\xbf[1]", [1]),
        (b' {"a": 1, "a": 2} ', {"a": 2}),
        (b'"\\ud83d\\ude00"', "\N{GRINNING FACE}"),
        (b"-1.5e3", -1500.0),
        (b"[" * 64 + b"]" * 64, json.loads("[" * 64 + "]" * 64)),
    ],
    ids=brief,
)
def test_json_is_decoded(body: bytes, document: object) -> None:
    """Strict JSON in UTF-8; a byte order mark is tolerated, the last of repeated keys wins."""
    assert parse_json(body) == document


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "is empty"),
        (b" \r\n", "is empty"),
        (b"\xef\xbb\xbf", "is not JSON"),
        (b"<!doctype html>", "is HTML"),
        (b" \n<html>", "is HTML"),
        (b'{"a": NaN}', "is not JSON"),
        (b"[Infinity]", "is not JSON"),
        (b"[-Infinity]", "is not JSON"),
        (b"[1e999]", "is not JSON"),
        (b"[-1e999]", "is not JSON"),
        (b"[" + b"9" * 5000 + b"]", "is not JSON"),
        (b'{"a": 1', "is not JSON"),
        (b"{} {}", "is not JSON"),
        (b"{'a': 1}", "is not JSON"),
        (b'"a\nb"', "is not JSON"),
        (b'"\xff"', "is not UTF-8"),
        (b'"\xed\xa0\x80"', "is not UTF-8"),
        ("[1]".encode("utf-16"), "is not UTF-8"),
        (b"[" * 65 + b"]" * 65, "nests"),
        (b'{"a":[' * 40 + b"]}" * 40, "nests"),
        (b"[" * 100_000, "is not JSON"),
        (b"[" * 900 + b"]" * 900, "nests"),
    ],
    ids=brief,
)
def test_anything_else_is_one_clean_error(body: bytes, why: str) -> None:
    """The message says why, repeats nothing of the body, and drags no other error along."""
    with pytest.raises(Undecodable, match=why) as refused:
        parse_json(body)
    assert refused.value.__cause__ is None
    assert len(str(refused.value)) < 60


def test_lone_surrogates_survive() -> None:
    """They are legal JSON, and can be written again as events are."""
    document = parse_json(b'{"a\\udc00": "\\ud800"}')
    assert document == {"a\udc00": "\ud800"}
    written = json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace")
    assert json.loads(written) == document


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_undecodable(body: bytes) -> None:
    """Nothing else comes out."""
    try:
        document = parse_json(body)
    except Undecodable:
        return
    json.dumps(document, allow_nan=False)


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", " GZIP ", "deflate"])
def test_compressed_bodies_are_inflated(encoding: str) -> None:
    """As far as the bound, and to the last byte."""
    body = b"x" * 1000
    packed = zlib.compress(body) if encoding == "deflate" else gzip.compress(body)
    assert inflate(packed, encoding=encoding, limit=1000) == body
    with pytest.raises(Overflow):
        inflate(packed, encoding=encoding, limit=999)


def test_plain_bodies_are_left_alone() -> None:
    """No encoding is an encoding."""
    assert inflate(b"abc", encoding="", limit=10) == b"abc"
    assert inflate(b"abc", encoding="identity", limit=10) == b"abc"


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b"", "gzip"),
        (b"plain", "gzip"),
        (gzip.compress(b"x" * 1000, mtime=0)[:-9], "gzip"),
        (gzip.compress(b"x" * 1000, mtime=0)[:-4] + b"oops", "gzip"),
        (b"abc", "br"),
        (gzip.compress(b"x", mtime=0), "gzip, gzip"),
    ],
    ids=brief,
)
def test_what_was_not_compressed_so_is_undecodable(body: bytes, encoding: str) -> None:
    """Cut short, broken, or never asked for."""
    with pytest.raises(Undecodable):
        inflate(body, encoding=encoding, limit=10_000)
