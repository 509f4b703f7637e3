"""Ids are well-formed, lead back to their thing, and cannot be guessed."""

from hypothesis import given
from hypothesis import strategies as st

from poller.simulator.formats import WELL_FORMED, IdMaker

IDS = IdMaker(seed=1, kind="messages")


@given(ordinal=st.integers(0, 2**44 - 1), index=st.integers(0, 2**20 - 1))
def test_an_id_leads_back(ordinal: int, index: int) -> None:
    """What was made is well-formed and can be read."""
    made = IDS.make("comms_message_", ordinal, index)
    assert WELL_FORMED.fullmatch(made)
    assert IDS.read("comms_message_", made) == (ordinal, index)


@given(text=st.from_regex(WELL_FORMED, fullmatch=True) | st.text())
def test_a_foreign_id_is_not_read(text: str) -> None:
    """What nobody made is not found."""
    assert IDS.read("comms_message_", text) is None


def test_ids_belong_to_their_prefix_kind_and_seed() -> None:
    """An id of another world, kind or resource is foreign."""
    made = IDS.make("comms_message_", 1, 1)
    assert IdMaker(seed=2, kind="messages").read("comms_message_", made) is None
    assert IdMaker(seed=1, kind="emails").read("comms_message_", made) is None
    assert IDS.read("comms_operation_", made.replace("message", "operation")) is None
