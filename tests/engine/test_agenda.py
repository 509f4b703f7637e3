"""The agenda: first due, first taken, kind by kind."""

from hypothesis import given
from hypothesis import strategies as st

from poller.engine.agenda import Agenda


def test_nothing_is_due_on_an_empty_agenda() -> None:
    """An empty agenda gives nothing and knows of no moment."""
    agenda = Agenda()
    assert agenda.take(["messages"], now=10.0) is None
    assert agenda.next_due(["messages"]) is None


def test_what_is_not_due_stays() -> None:
    """An entry is given out from its moment on, and once."""
    agenda = Agenda()
    agenda.put("a", kind="messages", due=5.0)
    assert agenda.take(["messages"], now=4.9) is None
    assert agenda.next_due(["messages"]) == 5.0
    assert agenda.take(["messages"], now=5.0) == "a"
    assert agenda.take(["messages"], now=9.0) is None


def test_kinds_that_are_closed_wait_without_holding_up_others() -> None:
    """Only the kinds asked for are looked into, and the most urgent of all of them comes first."""
    agenda = Agenda()
    agenda.put("m", kind="messages", due=1.0)
    agenda.put("e", kind="emails", due=2.0)
    agenda.put("late", kind="messages", due=3.0)
    assert agenda.take(["emails"], now=9.0) == "e"
    assert agenda.take(["emails"], now=9.0) is None
    agenda.put("e", kind="emails", due=0.0)
    assert [agenda.take(["messages", "emails"], now=9.0) for _ in range(3)] == ["e", "m", "late"]


@given(st.lists(st.tuples(st.sampled_from(["messages", "emails"]), st.integers(0, 5))))
def test_everything_comes_out_once_in_the_order_of_its_moment(
    entries: list[tuple[str, int]],
) -> None:
    """What is put comes out exactly once, by moment, and by the order of putting within one."""
    agenda = Agenda()
    for number, (kind, due) in enumerate(entries):
        agenda.put(str(number), kind=kind, due=due)
    taken = []
    while (found := agenda.take(["messages", "emails"], now=5)) is not None:
        taken.append(int(found))
    assert taken == sorted(range(len(entries)), key=lambda number: (entries[number][1], number))
