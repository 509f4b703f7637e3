"""Probes do not wait for a store that does not answer."""

import anyio
import pytest

from poller.server.refresh import Refreshed

pytestmark = pytest.mark.anyio


async def test_one_answer_serves_all_who_ask_within_its_time() -> None:
    """The store is asked once."""
    asked = []

    async def find() -> int:
        await anyio.lowlevel.checkpoint()
        asked.append(1)
        return len(asked)

    found = Refreshed(find, seconds=60)
    assert [await found.get(), await found.get()] == [1, 1]
    assert found.overdue == 0


async def test_nobody_waits_for_an_answer_that_does_not_come() -> None:
    """The last one is given, and how long the next one takes; there is only one run at a time."""
    answers = [anyio.Event() for _ in range(2)]
    answers[0].set()
    runs = []

    async def find() -> int:
        runs.append(1)
        await answers[len(runs) - 1].wait()
        return len(runs)

    found = Refreshed(find, seconds=0)
    assert await found.get() == 1
    with anyio.fail_after(5):
        assert [await found.get(), await found.get()] == [1, 1]
    assert found.overdue > 1
    assert len(runs) == 2
    answers[1].set()
    assert await found.get() == 2


async def test_what_goes_wrong_is_raised_where_it_is_asked() -> None:
    """A defect is not taken for an answer."""

    async def find() -> int:
        await anyio.lowlevel.checkpoint()
        raise ValueError("odd")

    found = Refreshed(find, seconds=60)
    for _ in range(2):
        with pytest.raises(ValueError, match="odd"):
            await found.get()
