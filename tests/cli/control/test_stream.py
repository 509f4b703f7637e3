"""Server-Sent Events: the same messages however the bytes are cut."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from poller.cli.control.stream import Message, StreamParser

STREAM = (
    "retry: 1000\nid: 0\n\n"
    ': \n\nid: 1\nevent: operation.progress\ndata: {"a": "ä\u2028\x85"}\n\n'
    "id:2\r\ndata:one\r\ndata: two\r\n\r\n"
    "event: error\ndata: {}\n\n"
    "data: cut off"
).encode()
MESSAGES = [
    Message(id="1", type="operation.progress", data='{"a": "ä\u2028\x85"}'),
    Message(id="2", type="message", data="one\ntwo"),
    Message(id=None, type="error", data="{}"),
]


def test_what_a_stream_says() -> None:
    """Comments, a block without data, and what was cut off are no messages."""
    assert StreamParser().feed(STREAM) == MESSAGES


@given(st.lists(st.integers(0, len(STREAM))))
def test_cuts_change_nothing(places: list[int]) -> None:
    """Characters and line ends may be cut in the middle."""
    cuts = [0, *sorted(places), len(STREAM)]
    parser = StreamParser()
    found = [message for start, end in pairwise(cuts) for message in parser.feed(STREAM[start:end])]
    assert found == MESSAGES
