"""Decoded documents: what is carried, what is counted, what is refused."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.comms.decoding import Nonsensical
from poller.comms.kinds import DEFAULT_KIND, KINDS, KindSpec, kind_named
from poller.comms.models import (
    decode_error_page,
    decode_message,
    decode_message_page,
    decode_operation,
    decode_page,
    decode_receipt_page,
)
from tests.comms.scripted import MESSAGE_ID, OPERATION_ID, brief, operation

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)


def test_an_operation_keeps_all_that_it_was_made_of() -> None:
    """Unknown members, counters and statuses are carried through."""
    document = operation(status="PAUSED", mood="good", stats={"total": 3, "clicked": 1})
    decoded = decode_operation(document, kind=DEFAULT_KIND, expected_id=OPERATION_ID)
    assert decoded.raw == document
    assert decoded.status == "PAUSED"
    assert decoded.counters == {"total": 3, "clicked": 1}
    assert decoded.updated_at == datetime(2024, 4, 5, 6, 21, tzinfo=UTC)


def test_a_null_counter_counts_as_zero() -> None:
    """Its column is there; other unknown members of stats are not counted."""
    stats = {"total": None, "queued": 1, "ratio": 0.5, "note": "x", "flag": True, "debt": -1}
    decoded = decode_operation(operation(stats=stats), kind=DEFAULT_KIND)
    assert decoded.counters == {"total": 0, "queued": 1}


@pytest.mark.parametrize("wrong", [-1, 1.0, "1", True, [], {}, 10**12 + 1, 10**4000], ids=brief)
def test_a_known_counter_is_an_integer(wrong: object) -> None:
    """Anything else in a documented counter makes the answer nonsensical, naming the member."""
    with pytest.raises(Nonsensical, match=r"stats\.delivered"):
        decode_operation(operation(stats={"delivered": wrong}), kind=DEFAULT_KIND)


@pytest.mark.parametrize(
    ("changes", "member"),
    [
        ({"stats": None}, "stats"),
        ({"stats": []}, "stats"),
        ({"id": None}, "id"),
        ({"id": OPERATION_ID[:-1] + "9"}, "id"),
        ({"id": 5}, "id"),
        ({"status": None}, "status"),
        ({"status": ""}, "status"),
        ({"status": 1}, "status"),
        ({"status": "DONE\n"}, "status"),
        ({"status": "\ud800"}, "status"),
        ({"status": "NUL\x00"}, "status"),
        ({"status": "X" * 201}, "status"),
    ],
)
def test_what_is_no_operation_is_refused(changes: dict[str, Any], member: str) -> None:
    """A missing id, status or stats, or text that databases and terminals choke on, is nonsense."""
    with pytest.raises(Nonsensical, match=f"^{member} is "):
        decode_operation(operation(**changes), kind=DEFAULT_KIND, expected_id=OPERATION_ID)


def test_missing_stats_are_nonsense() -> None:
    """An operation without stats says nothing that could be counted."""
    document = operation()
    del document["stats"]
    with pytest.raises(Nonsensical, match="stats is missing"):
        decode_operation(document, kind=DEFAULT_KIND)


@given(JSON)
def test_any_document_is_decoded_or_nonsensical(document: object) -> None:
    """Whatever the JSON, nothing but Nonsensical comes out, bounded."""
    for decode in (
        lambda: decode_operation(document, kind=DEFAULT_KIND),
        lambda: decode_page(document, kind=DEFAULT_KIND),
        lambda: decode_message(document),
        lambda: decode_message_page(document, kind=DEFAULT_KIND),
        lambda: decode_receipt_page(document),
        lambda: decode_error_page(document),
    ):
        try:
            decode()
        except Nonsensical as problem:
            assert len(str(problem)) < 300  # noqa: PT017 - either end is right


@given(JSON, st.sampled_from(["id", "status", "stats", "createdAt", "updatedAt"]))
def test_a_garbled_member_is_decoded_or_nonsensical(value: object, member: str) -> None:
    """The same for an operation with one member replaced by anything."""
    try:
        decoded = decode_operation(operation(**{member: value}), kind=DEFAULT_KIND)
    except Nonsensical:
        return
    assert all(type(count) is int and count >= 0 for count in decoded.counters.values())


def test_a_bad_item_does_not_spoil_its_page() -> None:
    """The other operations are used, and the problem is reported."""
    page = decode_page(
        {"operations": [operation(), 7, operation(stats=None)], "pagination": {"next": "abc"}},
        kind=DEFAULT_KIND,
    )
    assert [item.id for item in page.operations] == [OPERATION_ID]
    assert len(page.problems) == 2
    assert page.next_token == "abc"


@pytest.mark.parametrize(
    "pages",
    [
        {"pagination": {"next": "abc", "self": "https://api.test/v1/Messages"}},
        {"pagination": {"nextPageToken": "abc"}},
        {"pagination": {"next": None, "nextPageToken": "abc"}},
        {"pagination": None, "meta": {"next_page_url": "abc"}},
    ],
)
def test_every_shape_of_pagination_is_read(pages: Mapping[str, object]) -> None:
    """The reference, a guide and the live service differ."""
    assert decode_page({"operations": [], **pages}, kind=DEFAULT_KIND).next_token == "abc"


@pytest.mark.parametrize("pagination", [None, {}, {"next": None}, {"next": ""}])
def test_the_last_page_has_no_next(pagination: object) -> None:
    """Absent, null and empty all mean the end."""
    document = {"operations": [], "pagination": pagination}
    assert decode_page(document, kind=DEFAULT_KIND).next_token is None
    assert decode_page({"operations": []}, kind=DEFAULT_KIND).next_token is None


@pytest.mark.parametrize("token", [5, "a\r\nb", "\ud800", "x" * 5000], ids=brief)
def test_a_strange_token_is_nonsense(token: object) -> None:
    """The token becomes part of a URL."""
    with pytest.raises(Nonsensical, match=r"pagination\.next"):
        decode_page({"operations": [], "pagination": {"next": token}}, kind=DEFAULT_KIND)


def test_emails_count_opened() -> None:
    """Which counters must be integers depends on the kind."""
    stats = {"opened": "2"}
    with pytest.raises(Nonsensical, match=r"stats\.opened"):
        decode_operation(operation(stats=stats), kind=kind_named("emails"))
    assert decode_operation(operation(stats=stats), kind=KINDS["messages"]).counters == {}


def test_messages_are_decoded() -> None:
    """One message and a page of them keep what they were made of."""
    document = {"id": MESSAGE_ID, "status": "READ", "tags": {"a": "b"}, "deletedAt": None}
    message = decode_message(document, expected_id=MESSAGE_ID)
    assert (message.status, message.raw, message.created_at) == ("READ", document, None)
    page = decode_message_page({"messages": [document, None]}, kind=DEFAULT_KIND)
    assert page.messages == [message]
    assert len(page.problems) == 1
    with pytest.raises(Nonsensical, match="was requested"):
        decode_message(document, expected_id=MESSAGE_ID[:-1] + "9")


@given(JSON, st.sampled_from(["id", "status", "attempts", "scheduledFor", "createdAt"]))
def test_a_garbled_message_is_decoded_or_nonsensical(value: object, member: str) -> None:
    """Whatever stands in place of a member, what is counted are integers."""
    document = {"id": MESSAGE_ID, "status": "READ", "attempts": [{"status": "READ"}, value]}
    try:
        decoded = decode_message(document | {member: value})
    except Nonsensical:
        return
    assert all(type(count) is int and count >= 0 for count in decoded.counters.values())


def test_attempts_are_counted_by_status() -> None:
    """One that cannot be read is an attempt all the same; no status takes the place of the sum."""
    statuses: list[object] = ["FAILED", "FAILED", "DELIVERED", "attempts", None, 5]
    attempts = [*({"status": status} for status in statuses), "x"]
    document = {"id": MESSAGE_ID, "status": "DELIVERED", "attempts": attempts}
    assert decode_message(document).counters == {"attempts": 7, "failed": 2, "delivered": 1}
    assert decode_message(document | {"attempts": []}).counters == {"attempts": 0}


def test_an_item_of_a_list_counts_nothing() -> None:
    """Without attempts it says nothing of them; a schedule is read."""
    document = {"id": MESSAGE_ID, "status": "SCHEDULED", "scheduledFor": "2026-11-22T10:00:00Z"}
    message = decode_message(document)
    assert message.counters == {}
    assert message.scheduled_for == datetime(2026, 11, 22, 10, tzinfo=UTC)
    assert decode_message(document | {"scheduledFor": None}).scheduled_for is None


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_messages_are_listed_under_the_name_of_their_kind(kind: KindSpec) -> None:
    """Or under another name that the vendor uses; an error has the kind's usual one."""
    item = {"id": "any_id_1", "status": "FAILED"}
    for name in {*kind.items, "messages", "data"}:
        page = decode_message_page({name: [item], "pagination": {"next": "t"}}, kind=kind)
        assert [message.id for message in page.messages] == ["any_id_1"]
        assert page.next_token == "t"
    with pytest.raises(Nonsensical, match=f"^{(*kind.items, 'messages')[0]} is missing"):
        decode_message_page({"operations": []}, kind=kind)


def test_receipts_say_a_status_for_each_recipient() -> None:
    """Whatever else they hold; an item without a status is reported and left out."""
    receipts = [{"status": "READ", "to": []}, {"status": "SENT"}, {"to": []}, 7]
    page = decode_receipt_page({"receipts": receipts, "pagination": {"next": "t"}})
    assert (page.statuses, page.next_token) == (["READ", "SENT"], "t")
    assert page.problems == [
        "status is missing or null, not text of 1 to 200 characters",
        "a receipt is 7, not an object",
    ]
    with pytest.raises(Nonsensical, match="receipts is missing"):
        decode_receipt_page({})


def test_operation_errors_are_read_leniently() -> None:
    """Any object in the list is an error; other items are left out."""
    page = decode_error_page({"errors": [{"code": 1}, "x", {"odd": []}], "pagination": None})
    assert page.errors == [{"code": 1}, {"odd": []}]
