"""Taking a place to listen, and leaving it."""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from poller.addresses import TcpAddress, UnixAddress
from poller.server.listening import ListenError, taken, url_of
from tests.server.conftest import Build

HERE = TcpAddress(host="127.0.0.1", port=0)


@contextmanager
def take(
    place: TcpAddress | UnixAddress, *, mode: int = 0o600, guarded: bool = False
) -> Iterator[socket.socket]:
    """Listen as the control API does."""
    with taken(place, setting="server.listen", mode=mode, guarded=guarded) as listener:
        yield listener


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a socket may be."""
    return tmp_path / "poller.sock"


def test_a_free_port_is_found_and_reported() -> None:
    """Port 0 takes any; the URL says which."""
    with take(HERE) as listener:
        assert httpx.URL(url_of(listener)).port == listener.getsockname()[1] != 0


def test_a_taken_port_names_the_setting_and_the_way_out() -> None:
    """Found at once, with the setting to change and how to do without."""
    with take(HERE) as listener:
        port = listener.getsockname()[1]
        with (
            pytest.raises(ListenError, match=r"server\.listen") as refused,
            take(TcpAddress(host="127.0.0.1", port=port)),
        ):
            pass
    assert f"127.0.0.1:{port}" in refused.value.message
    assert "--set server.listen=" in refused.value.hint


def test_no_token_no_other_machines() -> None:
    """An address that others reach is refused without a token, and taken with one."""
    everywhere = TcpAddress(host="0.0.0.0", port=0)
    with pytest.raises(ListenError, match=r"no server\.token") as refused, take(everywhere):
        pass
    assert "POLLER_SERVER__TOKEN" in refused.value.hint
    with take(everywhere, guarded=True):
        pass


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"])
def test_an_address_that_is_not_ours_is_refused(host: str) -> None:
    """A name that nobody knows, an address of another machine."""
    with pytest.raises(ListenError, match=host), take(TcpAddress(host=host, port=0), guarded=True):
        pass


@pytest.mark.parametrize("mode", [0o600, 0o660])
def test_a_socket_has_the_mode_that_was_asked_for(path: Path, mode: int) -> None:
    """Whatever the umask; and it is gone afterwards."""
    before = os.umask(0o077)
    try:
        with take(UnixAddress(path=path), mode=mode) as listener:
            assert stat.S_IMODE(path.stat().st_mode) == mode
            assert url_of(listener) == f"unix:{path}"
    finally:
        os.umask(before)
    assert not path.exists()


def test_a_stale_socket_is_replaced(path: Path) -> None:
    """One that nobody listens at any more, as a crash leaves it."""
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(str(path))
        crashed.listen()
    with take(UnixAddress(path=path)), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_live_socket_is_left_alone(path: Path) -> None:
    """Its owner keeps it, and can still be reached."""
    with take(UnixAddress(path=path)):
        again = take(UnixAddress(path=path))
        with pytest.raises(ListenError, match="another process listens"), again:
            pass
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_what_is_no_socket_is_left_alone(path: Path) -> None:
    """A file keeps its content."""
    path.write_text("precious")
    with pytest.raises(ListenError, match="is not a socket"), take(UnixAddress(path=path)):
        pass
    assert path.read_text() == "precious"


def test_a_successor_keeps_its_socket(path: Path) -> None:
    """Who leaves removes what it made, and nothing that came after it."""
    with take(UnixAddress(path=path)):
        path.unlink()
        path.write_text("another")
    assert path.read_text() == "another"


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    """With who could make it."""
    with (
        pytest.raises(ListenError, match="RuntimeDirectory"),
        take(UnixAddress(path=tmp_path / "no" / "poller.sock")),
    ):
        pass


@pytest.mark.anyio
async def test_the_control_api_over_a_unix_socket(build: Build, path: Path) -> None:
    """The same routes; any Host will do, since only files' permissions guard it."""
    async with build(address=UnixAddress(path=path)) as server:
        assert server.bound.address == f"unix:{path}"
        answer = await server.client.get("/v1/sinks", headers={"Host": "anything"})
        assert answer.status_code == 200
        async with server.follow() as events:
            server.stop()
            assert [event async for event in events] == []
