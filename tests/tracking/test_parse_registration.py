"""A registration as somebody wrote it: read strictly, refused with the member's name."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.tracking.registration import (
    BadRegistration,
    Defaults,
    Registration,
    check_labels,
    parse_registration,
)
from tests.tracking.story import ID


def _parse(document: object) -> Registration:
    return parse_registration(document, Defaults(kind="emails", labels={"team": "a", "site": "x"}))


def test_an_id_alone_is_enough() -> None:
    """Kind and labels stand in for absent members, and for null ones."""
    expected = Registration(id=ID, kind="emails", labels={"team": "a", "site": "x"})
    assert _parse({"id": ID}) == expected
    assert _parse({"id": ID, "kind": None, "labels": None}) == expected


def test_what_is_given_wins() -> None:
    """Labels are added to the others and beat them."""
    read = _parse({"id": ID, "kind": "messages", "labels": {"team": "b", "campaign": "autumn"}})
    assert read.kind == "messages"
    assert read.labels == {"team": "b", "site": "x", "campaign": "autumn"}


@pytest.mark.parametrize(
    ("document", "field", "message"),
    [
        ([], "registration", "write an object such as"),
        (ID, "registration", "write an object such as"),
        ({}, "id", "must be text"),
        ({"id": 5}, "id", "must be text"),
        ({"id": "x"}, "id", ""),
        ({"id": ID, "kind": 5}, "kind", "must be text"),
        ({"id": ID, "kind": "email"}, "kind", "one of: messages, emails"),
        (
            {"id": ID, "label": {}},
            "label",
            "unknown member; there are breakdown, group, id, kind, labels",
        ),
        ({"id": ID, "labels": []}, "labels", "write an object such as"),
        ({"id": ID, "labels": {"a": 5}}, "labels.a", "must be text of at most 256 characters"),
        ({"id": ID, "labels": {"a": "x" * 257}}, "labels.a", "at most 256 characters"),
        ({"id": ID, "labels": {"": "x"}}, "labels", "a name must have 1 to 128 characters"),
        ({"id": ID, "labels": {"x" * 129: ""}}, "labels", "a name must have 1 to 128"),
        ({"id": ID, "labels": dict.fromkeys(map(str, range(33)), "")}, "labels", "at most 32"),
        ({"id": ID, "labels": dict.fromkeys(map(str, range(31)), "")}, "labels", "33 of them with"),
        ({"id": ID, "labels": {"\udc00x": "a"}}, "labels", r"the name '\udc00x' contains NUL or"),
        ({"id": ID, "labels": {"a\0": "a"}}, "labels", r"the name 'a\x00' contains NUL or half"),
        ({"id": ID, "labels": {"a": "\ud800"}}, "labels.a", "the value contains NUL or half"),
        ({"id": ID, "labels": {"a": "b\0"}}, "labels.a", "the value contains NUL or half"),
    ],
)
def test_what_is_wrong_is_named(document: object, field: str, message: str) -> None:
    """The member, and how to correct it."""
    with pytest.raises(BadRegistration) as caught:
        _parse(document)
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")
    assert message in str(caught.value)


def test_labels_at_their_bounds() -> None:
    """32 of them, names of 128 characters, values of 256, or empty ones."""
    labels = {f"{number:0128d}": "x" * 256 for number in range(31)} | {"a": ""}
    assert check_labels(labels) == labels


def test_labels_may_be_any_characters() -> None:
    """Those outside the Basic Multilingual Plane too, which JSON writes as a surrogate pair."""
    labels = json.loads('{"\\ud83d\\ude00": "ü\\u0001\\ud83d\\ude00"}')
    assert check_labels(labels) == {"\U0001f600": "ü\x01\U0001f600"}


@pytest.mark.parametrize("text", ["\0", "\ud800", "a\udfff"])
@pytest.mark.parametrize("member", ["id", "kind", "group", "traceparent", "tracestate", "labels"])
def test_no_text_of_a_registration_has_nul_or_half_a_pair(member: str, text: str) -> None:
    """A store cannot keep the one, UTF-8 cannot encode the other."""
    valid = {"id": ID, "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
    wrong: object = {text: "a"} if member == "labels" else text
    with pytest.raises(BadRegistration):
        _parse({**valid, member: wrong})


@given(
    document=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=6,
    )
    | st.dictionaries(st.sampled_from(["id", "kind", "labels"]), st.none() | st.text())
)
def test_anything_else_is_refused(document: Any) -> None:  # noqa: ANN401 - any JSON
    """One error for all, whatever JSON comes in."""
    with pytest.raises(BadRegistration):
        _parse(document)


@pytest.mark.parametrize("name", ["a", "9", "Autumn-2026.part:1_b", "x" * 64])
def test_what_a_group_can_be_called(name: str) -> None:
    """As in the path of a URL; the one that is given wins over that of the defaults."""
    wanted = parse_registration({"id": ID, "group": name}, Defaults(group="other"))
    assert wanted.group == name
    assert parse_registration({"id": ID}, Defaults(group="other")).group == "other"


@pytest.mark.parametrize(
    "name", ["", "comms_x", "-a", "a/b", "a b", "é", "x" * 65, 7, ["a"], "a\n"]
)
def test_what_a_group_cannot_be_called(name: object) -> None:
    """A name that could be an id, or does not fit into a path."""
    with pytest.raises(BadRegistration, match="group: must be 1 to 64 letters"):
        parse_registration({"id": ID, "group": name})
