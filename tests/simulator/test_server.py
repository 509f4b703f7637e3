"""Serving inside somebody else's task group: quiet, without signals, gone when cancelled."""

import json
import shutil
import signal
import socket
from urllib.parse import urlsplit

import anyio
import httpx
import pytest

from poller.simulator import SimulatorConfig, create_app, serve, usage
from tests.fakes.tls import NO_TLS

pytestmark = pytest.mark.anyio


async def test_cancelling_stops_at_once_and_quietly(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """With a request in flight nothing is logged or raised, and the port is free again."""
    caplog.set_level("DEBUG")
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    config = SimulatorConfig(rate_slow=1.0, slow_seconds=60)
    failures: list[httpx.HTTPError] = []

    async def wait_for_an_answer(url: str) -> None:
        async with httpx.AsyncClient(trust_env=False, verify=NO_TLS) as client:
            try:
                await client.get(f"{url}/Messages", auth=(config.account_sid, config.auth_token))
            except httpx.HTTPError as error:
                failures.append(error)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as outer, anyio.create_task_group() as tasks:
            url = await tasks.start(serve, config)
            assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers
            outer.start_soon(wait_for_an_answer, url)
            async with httpx.AsyncClient(trust_env=False, verify=NO_TLS) as client:
                stats = url.removesuffix("/v1") + "/_simulator/stats"
                while (await client.get(stats)).json()["in_flight"] == 0:
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
    assert len(failures) == 1
    assert capfd.readouterr() == ("", "")
    assert {each.name for each in caplog.records if not each.name.startswith("http")} <= {"asyncio"}
    with socket.create_server(("127.0.0.1", urlsplit(url).port or 0)):
        pass  # the port is free


async def test_a_taken_port_is_an_error() -> None:
    """`OSError` reaches the caller; the process is not ended."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        await serve(SimulatorConfig(), port=taken.getsockname()[1])


async def test_two_run_side_by_side_on_any_family() -> None:
    """A second simulator, on IPv6, has its own world and a base URL that can be used."""
    async with anyio.create_task_group() as tasks:
        first = await tasks.start(serve, SimulatorConfig(seed=1))
        config = SimulatorConfig(seed=2)
        second = await tasks.start(lambda **options: serve(config, host="::1", **options))
        assert first.startswith("http://127.0.0.1:")
        assert second.startswith("http://[::1]:")
        async with httpx.AsyncClient(trust_env=False, verify=NO_TLS) as client:
            answer = await client.get(
                f"{second}/Messages/Operations", auth=(config.account_sid, config.auth_token)
            )
        assert answer.status_code == 200
        tasks.cancel_scope.cancel()


async def test_a_reset_without_a_connection_raises() -> None:
    """Under another server, which hands out no connection, a reset is raised."""
    config = SimulatorConfig(seed=1, rate_broken=1.0)
    auth = (config.account_sid, config.auth_token)
    transport = httpx.ASGITransport(create_app(config))
    async with httpx.AsyncClient(transport=transport, base_url="http://test", auth=auth) as client:
        with pytest.raises(ConnectionResetError):  # noqa: PT012 - which request meets it is drawn
            for _ in range(50):
                await client.get("/v1/Messages")


@pytest.mark.skipif(shutil.which("curl") is None, reason="the lines use curl")
async def test_the_printed_lines_work_in_a_shell() -> None:
    """Pasted into a POSIX shell they export what a poller needs and send."""
    config = SimulatorConfig(auth_token='it\'s $HOME `a` "token"')
    async with anyio.create_task_group() as tasks:
        url = await tasks.start(serve, config)
        script = usage(url, config) + 'printf "\\n%s" "$TWILIO_AUTH_TOKEN"'
        done = await anyio.run_process(["sh", "-eu", "-c", script], env={"PATH": "/usr/bin:/bin"})
        tasks.cancel_scope.cancel()
    sent, token = done.stdout.decode().split("\n")
    assert json.loads(sent)["operationLocation"].startswith(url)
    assert token == config.auth_token
