"""Where dead letters are read and replayed: at the daemon that has the store, else in the store."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from poller.cli.commands.replay import replay_events
from poller.cli.dead_letters import open_dead_letters
from poller.cli.session import Target
from poller.clock import wall_clock
from poller.control.errors import NoToken
from poller.store.errors import StoreUnavailable
from poller.store.store import Store
from tests.cli.stored_dead_letters import HOME
from tests.cli.surroundings import Surroundings
from tests.control.fake_daemon import Asked, FakeDaemon, Reply, problem

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
    """Say where the dead letters are read."""
    target = Target(url)

    async def look() -> str:
        async with open_dead_letters(target) as source:
            await source.sinks()
            return source.place

    return anyio.run(look)


def sinks(_: Asked) -> Reply:
    """Answer as a daemon that is well."""
    return Reply(body=SINKS)


def listen(here: Surroundings, daemon: FakeDaemon) -> None:
    """Let the settings say that the daemon listens there."""
    here.set(POLLER_SERVER__LISTEN=f"{daemon.address.host}:{daemon.address.port}")


def test_a_store_that_nobody_has(here: Surroundings) -> None:
    """What answers at the address has another store: it is not asked."""
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


def test_a_store_that_refuses(here: Surroundings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's own error reaches the command, with its exit code, not an answer 503."""
    make_store(here.directory)

    async def refuse(_: Store) -> None:
        raise StoreUnavailable("the file is read-only", needs_change=True)

    monkeypatch.setattr(Store, "sinks", refuse)
    with pytest.raises(StoreUnavailable, match="read-only"):
        place()


@pytest.mark.usefixtures("here")
def test_dead_letters_are_replayed_page_by_page(capsys: pytest.CaptureFixture[str]) -> None:
    """With the filters, or all; the numbers of the answers are added up."""
    pages = iter(
        [
            {"replayed": {"app": 1000}, "next": "1000.app"},
            {"replayed": {"app": 2, "log": 1}, "next": None},
            {"replayed": {}, "next": None},
        ]
    )

    def answer(asked: Asked) -> Reply:
        return sinks(asked) if asked.path == "/v1/sinks" else Reply(status=202, body=next(pages))

    def replay(*event_ids: str, sink: str | None = None, everything: bool = False) -> int:
        return replay_events(
            Target(str(daemon.address)),
            event_ids=event_ids,
            sink=sink,
            operation=None,
            since=None,
            until=None,
            everything=everything,
            to=[],
            json_output=True,
        )

    with FakeDaemon(answer) as daemon:
        assert replay(sink="app") == 0
        assert replay(everything=True) == 0
        assert replay("../x") == 1
    out, err = capsys.readouterr()
    assert out == '{"replayed":{"app":1002,"log":1}}\n{"replayed":{}}\n{"replayed":{}}\n'
    assert "no event '../x' is kept; that is not the id of an event" in err
    replays = [asked for asked in daemon.asked if asked.path != "/v1/sinks"]
    assert [(asked.path, asked.body) for asked in replays] == [
        ("/v1/dead-letters/replay", {"sink": "app"}),
        ("/v1/dead-letters/replay", {"sink": "app", "cursor": "1000.app"}),
        ("/v1/dead-letters/replay", {"all": True}),
    ]
