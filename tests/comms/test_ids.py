"""The vendor's identifiers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.comms.ids import (
    OPERATION_ID,
    InvalidId,
    check_message_id,
    check_operation_id,
    check_watchable_id,
    is_message_id,
)
from tests.comms.scripted import MESSAGE_ID
from tests.comms.scripted import OPERATION_ID as AN_OPERATION

BODY = "01h9krwprkeee8fzqspvwy6nq8"


def test_accepts_the_ids_of_the_reference() -> None:
    """The documented examples pass unchanged."""
    assert check_operation_id(AN_OPERATION) == AN_OPERATION
    assert check_message_id(MESSAGE_ID) == MESSAGE_ID
    assert [check_watchable_id(each) for each in (AN_OPERATION, MESSAGE_ID)] == [
        AN_OPERATION,
        MESSAGE_ID,
    ]
    assert is_message_id(MESSAGE_ID)
    assert not is_message_id(AN_OPERATION)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "comms_operation_",
        f"comms_operation_8{BODY[1:]}",
        f"comms_operation_{BODY[:-1]}",
        f"comms_operation_{BODY}{'a' * 10}",
        f"comms_operation_{BODY}\n",
        f" comms_operation_{BODY}",
        f"comms_operation_{BODY}/../../Messages",
        f"comms_operation_{BODY.upper()}",
        f"comms_operation_{BODY[:-1]}i",
        f"comms_operation_{BODY[:-1]}٣",
    ],
)
def test_refuses_what_is_no_operation_id(text: str) -> None:
    """Nothing else becomes part of a URL, and the message shows what one looks like."""
    with pytest.raises(InvalidId, match="comms_operation_01h9krwprkeee8fzqspvwy6nq8"):
        check_operation_id(text)
    with pytest.raises(InvalidId, match=f"comms_operation_{BODY} .*comms_message_{BODY}"):
        check_watchable_id(text)
    assert not is_message_id(text.replace("operation", "message"))


def test_a_message_id_is_distinguished() -> None:
    """For the id of a message the error asks for that of its operation."""
    with pytest.raises(InvalidId, match="the id of a message"):
        check_operation_id(MESSAGE_ID)
    with pytest.raises(InvalidId, match="not the id of a message"):
        check_message_id(AN_OPERATION)


@given(st.text(max_size=500))
def test_the_message_is_bounded(text: str) -> None:
    """However long the text, the message stays readable."""
    if OPERATION_ID.fullmatch(text):
        return
    with pytest.raises(InvalidId) as refused:
        check_operation_id("x" * 1000 + text)
    assert len(str(refused.value)) < 300
    with pytest.raises(InvalidId) as refused:
        check_watchable_id("x" * 1000 + text)
    assert len(str(refused.value)) < 300
