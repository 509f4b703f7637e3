"""Whom dead letters and replay ask: the daemon that has the store, else the store itself."""

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from poller.cli.control.errors import NoToken
from poller.cli.control.session import Target
from poller.cli.letters import open_letters
from poller.clock import wall_clock
from poller.store.dead_letters import Selection, UnknownEvent
from poller.store.errors import StoreUnavailable
from poller.store.store import Store
from tests.cli.control.fake_daemon import Asked, FakeDaemon, Reply, problem
from tests.cli.letters import HOME
from tests.cli.surroundings import Surroundings

SINKS = {"sinks": [{"name": "app", "configured": True}, {"name": "log", "configured": False}]}


def make_store(directory: Path) -> None:
    """Leave an empty store."""

    async def make() -> None:
        await (
            await Store.open(f"sqlite:///{directory / 'poller.db'}", HOME, now=wall_clock)
        ).aclose()

    anyio.run(make)


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Hold the store as a daemon does."""
    with (directory / "poller.db.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def place(url: str | None = None) -> str:
    """Say where the letters are."""
    target = Target(url)

    async def look() -> str:
        async with open_letters(target) as letters:
            await letters.sinks()
            return letters.place

    return anyio.run(look)


def sinks(_: Asked) -> Reply:
    """Answer as a daemon that is well."""
    return Reply(body=SINKS)


def listen(here: Surroundings, daemon: FakeDaemon) -> None:
    """Let the settings say that the daemon listens there."""
    here.set(POLLER_SERVER__LISTEN=f"{daemon.address.host}:{daemon.address.port}")


def test_a_store_that_nobody_has(here: Surroundings) -> None:
    """Whoever answers at the address has another store: it is not asked."""
    make_store(here.directory)
    with FakeDaemon(sinks) as daemon:
        listen(here, daemon)
        assert "sqlite:///poller.db" in place()
    assert daemon.asked == []


def test_a_store_that_a_daemon_has(here: Surroundings) -> None:
    """The daemon is asked."""
    make_store(here.directory)
    with FakeDaemon(sinks) as daemon, held(here.directory):
        listen(here, daemon)
        assert place() == f"at {daemon.address}"


def test_a_store_that_is_elsewhere(here: Surroundings) -> None:
    """Where the settings lead to no store, the daemon of these settings has it."""
    with FakeDaemon(sinks) as daemon:
        listen(here, daemon)
        assert place() == f"at {daemon.address}"
    with pytest.raises(StoreUnavailable):
        place()


def test_a_daemon_that_cannot_be_asked(here: Surroundings) -> None:
    """The store is read; unless it was that daemon which was named."""
    make_store(here.directory)
    with FakeDaemon(lambda _: problem(401, "unauthorized")) as daemon, held(here.directory):
        listen(here, daemon)
        assert "sqlite:///poller.db" in place()
        with pytest.raises(NoToken):
            place(str(daemon.address))


@pytest.mark.parametrize("text", ["", "127.0.0.1:0"])
def test_a_daemon_that_nobody_can_find(here: Surroundings, text: str) -> None:
    """Without an address there is the store."""
    make_store(here.directory)
    here.set(POLLER_SERVER__LISTEN=text)
    assert "sqlite:///poller.db" in place()


@pytest.mark.usefixtures("here")
def test_a_choice_is_replayed_page_by_page() -> None:
    """With the filters, or all; the numbers of the answers are added up."""
    pages = iter(
        [
            {"replayed": {"app": 1000}, "next": "1000.app"},
            {"replayed": {"app": 2, "log": 1}, "next": None},
            {"replayed": {}, "next": None},
        ]
    )

    def answer(_asked: Asked) -> Reply:
        return Reply(status=202, body=next(pages))

    async def replay(target: Target) -> list[Mapping[str, int]]:
        async with open_letters(target) as letters:
            with pytest.raises(UnknownEvent, match=r"'\.\./x' is kept"):
                await letters.replay_event("../x", None)
            return [await letters.replay(Selection(sink="app")), await letters.replay(Selection())]

    with FakeDaemon(answer) as daemon:
        target = Target(str(daemon.address))
        assert anyio.run(replay, target) == [{"app": 1002, "log": 1}, {}]
    assert [(asked.path, asked.body) for asked in daemon.asked] == [
        ("/v1/dead-letters/replay", {"sink": "app"}),
        ("/v1/dead-letters/replay", {"sink": "app", "cursor": "1000.app"}),
        ("/v1/dead-letters/replay", {"all": True}),
    ]
