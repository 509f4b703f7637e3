"""Printable lines, instants and JSON."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.text import dump_json, format_instant, parse_instant, printable

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=()), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)  # fmt: skip


@given(st.text(), st.integers(min_value=1, max_value=100))
def test_printable_is_one_bounded_line(text: str, limit: int) -> None:
    """Whatever a server sends, a log line stays a line, and a terminal is not driven by it."""
    line = printable(text, limit=limit)
    assert len(line) <= limit
    assert line.isprintable()


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2024-04-05T06:20:00Z", datetime(2024, 4, 5, 6, 20, tzinfo=UTC)),
        ("2024-04-05t06:20:00z", datetime(2024, 4, 5, 6, 20, tzinfo=UTC)),
        ("2024-04-05T08:20:00.5+02:00", datetime(2024, 4, 5, 6, 20, 0, 500_000, tzinfo=UTC)),
        ("2024-04-05T06:20:00.123456789Z", datetime(2024, 4, 5, 6, 20, 0, 123_456, tzinfo=UTC)),
        ("2024-04-05T06:20:00", None),
        ("0001-01-01T00:00:00+10:00", None),
        ("yesterday", None),
        ("\ud800", None),
        ("2024-04-05\ud80006:20:00Z", None),
        (1712298000, None),
        (None, None),
        ("2" * 100, None),
    ],
)
def test_instants_are_read_or_absent(text: object, read: datetime | None) -> None:
    """An instant has an offset; what cannot be read is None."""
    assert parse_instant(text) == read


def test_instants_are_utc_with_milliseconds() -> None:
    """Whatever their zone; microseconds are cut, not rounded into the future."""
    zone = timezone(timedelta(hours=2))
    assert format_instant(datetime(2026, 1, 2, 1, 0, tzinfo=zone)) == "2026-01-01T23:00:00.000Z"
    late = datetime(2026, 1, 2, 3, 4, 5, 999_999, tzinfo=UTC)
    assert format_instant(late) == "2026-01-02T03:04:05.999Z"


@given(document=JSON)
def test_any_document_is_one_line_of_utf_8(document: object) -> None:
    """Half a surrogate pair keeps its escape sequence; reading gives the same document back."""
    text = dump_json(document)
    assert b"\n" not in text.encode("utf-8")
    assert b"\r" not in text.encode("utf-8")
    read = json.loads(text)
    assert json.dumps(read) == json.dumps(json.loads(json.dumps(document)))


def test_half_a_surrogate_pair_is_written_as_its_escape() -> None:
    """UTF-8 cannot encode it."""
    document = json.loads('{"a":"x\\ud800\\\\","\\udfff":"ü€😀"}')
    assert dump_json(document) == '{"a":"x\\ud800\\\\","\\udfff":"ü€😀"}'


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_json_is_refused(value: float) -> None:
    """NaN and Infinity are Python's, not JSON's."""
    with pytest.raises(ValueError, match="JSON compliant"):
        dump_json({"x": value})
