"""The table of kinds."""

import pytest

from poller.comms.ids import MESSAGE_ID
from poller.comms.kinds import DEFAULT_KIND, KINDS, KindSpec, UnknownKind, kind_named
from poller.tracking.breakdown.causes import ITEM_ID


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_each_row_is_consistent(kind: KindSpec) -> None:
    """Each state of a message is a documented counter, and stands in one place."""
    assert KINDS[kind.name] is kind
    states = (*kind.stages, *kind.stopped)
    assert len(set(states)) == len(states)
    assert set(states) <= kind.counters
    assert kind.receipts <= set(states)
    assert kind.unsuccessful
    assert kind.unsuccessful <= set(kind.stopped)
    assert kind.waiting == kind.stages[: len(kind.waiting)]
    assert not kind.receipts & set(kind.waiting)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_what_failed_can_be_listed_where_messages_are(kind: KindSpec) -> None:
    """The statuses to list are counted as unsuccessful, and there are none without a list."""
    assert bool(kind.failed_statuses) == bool(kind.items)
    assert {status.lower() for status in kind.failed_statuses} <= kind.unsuccessful


def test_the_prefix_of_an_item_identifies_its_kind() -> None:
    """No two kinds share one, and all are of a form that a sample of a breakdown may have."""
    prefixes = [prefix for kind in KINDS.values() for prefix in kind.item_prefixes]
    assert len(set(prefixes)) == len(prefixes)
    assert all(ITEM_ID.fullmatch(f"{prefix}0{'a' * 25}") for prefix in prefixes)
    assert MESSAGE_ID.pattern.startswith(DEFAULT_KIND.item_prefixes)


def test_paths_are_distinct() -> None:
    """Two kinds never share their operations, for the id does not tell them apart."""
    assert len({kind.path for kind in KINDS.values()}) == len(KINDS)


def test_the_default_is_messages() -> None:
    """Without a kind, messages are meant."""
    assert DEFAULT_KIND is kind_named("messages")


def test_an_unknown_kind_lists_those_that_there_are() -> None:
    """The message names the fault and the choice."""
    with pytest.raises(UnknownKind, match="'email'; one of: messages, emails,"):
        kind_named("email")
