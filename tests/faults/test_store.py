"""A store that cannot be written for a while: full, or held by somebody else."""

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from tests.faults.stage import ODD, WELL, Show, Stage, campaign, of
from tests.oracle import check_promises

pytestmark = pytest.mark.anyio

Repair = Callable[[sqlite3.Connection], None]

# What was being recorded when the store failed is asked about again once its lease is over.
_LEASE: Final = 60.0


async def _fill(show: Show) -> Repair:
    """Let the file grow no more, as on a full disk."""

    def fill(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE filler (eaten)")
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        with suppress(sqlite3.OperationalError):
            while True:
                connection.execute("INSERT INTO filler VALUES (zeroblob(2000))")

    def repair(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA max_page_count = 1000000")

    await show.in_store(fill)
    return repair


async def _lock(show: Show) -> Repair:
    """Begin to write from elsewhere, and do not end."""
    holder = sqlite3.connect(_path(show), isolation_level=None, check_same_thread=False)
    await show.in_store(lambda connection: connection.execute("PRAGMA busy_timeout = 50"))
    holder.execute("BEGIN IMMEDIATE")

    def repair(connection: sqlite3.Connection) -> None:
        holder.close()
        connection.execute("PRAGMA busy_timeout = 10000")

    return repair


def _path(show: Show) -> Path:
    found = show.store._database.path
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("hurt", "said"),
    [pytest.param(_fill, "full", id="full"), pytest.param(_lock, "locked", id="locked")],
)
async def test_a_store_that_cannot_be_written(
    stage: Stage, hurt: Callable[[Show], Awaitable[Repair]], said: str
) -> None:
    """It is logged with path and cause, nothing half-done is kept, and all continues by itself."""
    stage.script(ODD, campaign(ODD)[:1])
    stage.script(WELL, campaign(WELL)[:1])
    async with stage.running() as show:
        await show.until(lambda: len(show.events) == 2)
        repair = await hurt(show)
        stage.script(ODD, campaign(ODD)[1:])
        stage.script(WELL, campaign(WELL)[1:])
        await show.until(lambda: len(show.logged("store.unavailable")) > 3)
        assert not show.has_ended(ODD)
        assert not show.has_ended(WELL)
        await show.in_store(repair)
        stage.clock.jump(_LEASE)
        await show.until(show.has_ended)
    check_promises(show.events)
    assert of(ODD, show.events)[-1]["type"] == "operation.completed"
    errors = [str(line["error"]) for line in show.logged("store.unavailable")]
    assert all(said in error and str(_path(show)) in error for error in errors), errors
