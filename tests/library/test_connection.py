"""The connection to a daemon: it outlasts a restart, and runs on trio."""

from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketAttribute
from anyio.from_thread import start_blocking_portal

import poller
from tests.fakes.simulated import Simulated
from tests.library.conftest import FAST, UNKNOWN, Stage

pytestmark = pytest.mark.anyio


async def test_a_restart_of_the_daemon_costs_nothing(stage: Stage) -> None:
    """A wait and a stream go on where they were, when another daemon has the store."""
    server = {"listen": f"127.0.0.1:{await _free_port()}"}
    sent = stage.send(1000)
    found: list[poller.EmittedEvent] = []
    has_ended = anyio.Event()

    async def follow(connection: poller.DaemonConnection) -> None:
        async for event in connection.events(id=sent.id, from_oldest=True):
            found.append(event)
            if event.final:
                return

    url = f"http://{server['listen']}"
    async with poller.connect(url, patience=20) as connection, anyio.create_task_group() as tasks:
        async with stage.embedded(server=server):
            await connection.watch(sent.id)
            tasks.start_soon(follow, connection)
            with pytest.raises(TimeoutError):
                await connection.wait(sent.id, timeout=0.2)
            tasks.start_soon(_expect_end, connection, sent.id, has_ended)
            await anyio.sleep(0.2)
        async with stage.embedded(server=server):
            assert (await connection.wait(sent.id, timeout=20)).final
            while not (found and found[-1].final):  # noqa: ASYNC110 - the follower has no event
                await anyio.sleep(0.02)
            # its request must be answered before this daemon stops as well
            await has_ended.wait()
    assert [event.sequence for event in found] == list(range(1, len(found) + 1))


async def _expect_end(
    connection: poller.DaemonConnection, watched: str, has_ended: anyio.Event
) -> None:
    assert (await connection.wait(watched, timeout=20)).final
    has_ended.set()


async def _free_port() -> int:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0) as listener:
        return listener.extra(SocketAttribute.local_port)  # noqa: S610 - no Django here


async def test_patience_ends() -> None:
    """With what the command line says as well."""
    url = f"http://127.0.0.1:{await _free_port()}"
    async with poller.connect(url, patience=0.2) as connection:
        with pytest.raises(poller.ControlError, match="no daemon answers"):
            await connection.wait("comms_operation_01h9krwprkeee8fzqspvwy6nq8")


async def test_a_token_is_sent(stage: Stage) -> None:
    """And never shown."""
    server = {"listen": "127.0.0.1:0", "token": "a-token-of-some-length"}
    async with stage.embedded(server=server) as running:
        assert running.address is not None
        sent = stage.send()
        async with poller.connect(running.address, token="a-token-of-some-length") as connection:
            assert await connection.watch(sent.id)
        async with poller.connect(running.address, token="another-token-of-some") as connection:
            with pytest.raises(poller.ControlError) as raised:
                await connection.watch(sent.id)
    assert "another-token" not in str(raised.value)


def test_it_is_refused_before_it_is_open() -> None:
    """With what to do; a bad address is refused at once."""
    with pytest.raises(poller.ControlError, match=r"^url: "):
        poller.connect("ftp://127.0.0.1")

    async def ask() -> None:
        await poller.connect("http://127.0.0.1:1").operation(UNKNOWN)

    with pytest.raises(poller.PollerClosed, match="async with"):
        anyio.run(ask)


# the connection is closed all the same
@pytest.mark.filterwarnings("ignore:Async generator 'httpx:ResourceWarning")
@pytest.mark.filterwarnings("ignore:Exception ignored in. <async_generator object Response")
def test_it_runs_on_trio(tmp_path: Path) -> None:
    """The daemon stays on asyncio, here in a thread of its own."""
    with Simulated() as simulated, start_blocking_portal() as portal:
        sent = simulated.world.send(recipients=2)
        daemon = poller.Poller(
            account_sid=simulated.config.account_sid,
            auth_token=simulated.config.auth_token,
            base_url=simulated.base_url,
            store=f"sqlite:///{tmp_path / 'poller.db'}",
            settings={**FAST, "server": {"listen": "127.0.0.1:0"}},
        )
        with portal.wrap_async_context_manager(daemon):
            assert daemon.address is not None
            work = partial(_wait_on_trio, daemon.address, sent.id, simulated)
            final = anyio.run(work, backend="trio")
    assert final.type is poller.EventType.OPERATION_COMPLETED


async def _wait_on_trio(address: str, watched: str, simulated: Simulated) -> poller.EmittedEvent:
    async with poller.connect(address) as connection:
        assert await connection.watch(watched)
        with pytest.raises(TimeoutError):
            await connection.wait(watched, timeout=0.2)
        simulated.advance(60)
        return await connection.wait(watched, timeout=20)
