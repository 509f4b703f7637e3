"""The table of kinds."""

import pytest

from poller.comms.ids import MESSAGE_ID
from poller.comms.kinds import DEFAULT_KIND, KINDS, KindSpec, UnknownKind, kind_named


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_each_row_is_consistent(kind: KindSpec) -> None:
    """What counts as done or as open is a documented counter, and never both."""
    assert KINDS[kind.name] is kind
    assert kind.done | kind.open <= kind.counters
    assert not kind.done & kind.open
    assert kind.unsuccessful
    assert kind.unsuccessful <= kind.done


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_what_failed_can_be_listed_where_messages_are(kind: KindSpec) -> None:
    """The statuses to list are counted as unsuccessful, and there are none without a list."""
    assert bool(kind.failed_statuses) == (kind.items is not None)
    assert {status.lower() for status in kind.failed_statuses} <= kind.unsuccessful


def test_only_messages_have_a_documented_id() -> None:
    """What the vendor does not document is not guessed."""
    prefixes = {kind.name: kind.message_prefix for kind in KINDS.values() if kind.message_prefix}
    assert prefixes == {"messages": "comms_message_"}
    assert MESSAGE_ID.pattern.startswith("comms_message_")


def test_paths_are_distinct() -> None:
    """Two kinds never share their operations, for the id does not tell them apart."""
    assert len({kind.path for kind in KINDS.values()}) == len(KINDS)


def test_the_default_is_messages() -> None:
    """Whoever names no kind means messages."""
    assert DEFAULT_KIND is kind_named("messages")


def test_an_unknown_kind_lists_those_that_there_are() -> None:
    """The message names the fault and the choice."""
    with pytest.raises(UnknownKind, match="'email'; one of: messages, emails,"):
        kind_named("email")
