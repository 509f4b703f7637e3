"""Signals of the daemon: held from the first instruction on, read by the loop, never lost."""

import asyncio
import os
import signal
import time
from pathlib import Path

import anyio
import pytest

from poller.cli.signals import ProcessSignals, hold_signals
from tests.fakes.process import Poller, eventually

CREDENTIALS = {
    "TWILIO_ACCOUNT_SID": "AC1",
    "TWILIO_AUTH_TOKEN": "t",
    "POLLER_API__BASE_URL": "http://127.0.0.1:9/v1",
    "POLLER_SERVER__LISTEN": "127.0.0.1:0",
}


def test_before_the_loop_a_stop_ends_at_once_and_a_reload_is_held() -> None:
    """Nothing has begun that would have to be brought to an end."""
    with hold_signals() as signals:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not signals.stop_requested
        for number in (signal.SIGTERM, signal.SIGINT):
            with pytest.raises(SystemExit) as ended:
                os.kill(os.getpid(), number)
            assert ended.value.code == 0


def test_the_loop_reads_what_was_held_and_what_comes() -> None:
    """In order; a SIGHUP that was not read yet stands for another one."""

    async def read(signals: ProcessSignals) -> list[int]:
        with signals.attached(), anyio.fail_after(20):
            os.kill(os.getpid(), signal.SIGHUP)
            asyncio.get_running_loop().call_later(0.01, os.kill, os.getpid(), signal.SIGTERM)
            await signals.wait_for_stop()
            os.kill(os.getpid(), signal.SIGINT)
            return [await signals.get() for _ in range(3)]

    with hold_signals() as signals:
        os.kill(os.getpid(), signal.SIGHUP)
        assert anyio.run(read, signals) == [signal.SIGHUP, signal.SIGTERM, signal.SIGINT]
        # after the loop the exit code is known: nothing replaces it
        os.kill(os.getpid(), signal.SIGTERM)


def test_handlers_are_given_back() -> None:
    """Only the command itself ignores the signals until the interpreter has ended."""
    before = signal.getsignal(signal.SIGHUP)
    with hold_signals() as outer, hold_signals() as inner:
        assert outer is inner
        assert signal.getsignal(signal.SIGHUP) == outer.handle
    assert signal.getsignal(signal.SIGHUP) == before


@pytest.mark.acceptance
def test_only_run_holds_signals(tmp_path: Path) -> None:
    """A terminal that hangs up ends every other command."""
    with Poller("simulate", "--port", "0", cwd=tmp_path, environment={}) as simulator:
        eventually(lambda: bool(simulator.out))
        simulator.signal(signal.SIGHUP)
        assert simulator.wait() == -signal.SIGHUP


@pytest.mark.acceptance
def test_a_signal_at_any_moment_of_the_start(tmp_path: Path) -> None:
    """SIGHUP never ends the daemon; SIGTERM and Ctrl-C end it in order, promptly, with 0."""
    for number, delay in ((signal.SIGTERM, 0.2), (signal.SIGINT, 0.5), (signal.SIGTERM, 1.0)):
        with Poller("run", cwd=tmp_path, environment=CREDENTIALS) as daemon:
            eventually(lambda pid=daemon.process.pid: _handles(pid))  # type: ignore[misc]
            for _ in range(5):
                daemon.signal(signal.SIGHUP)
                time.sleep(delay / 5)
            assert daemon.process.poll() is None
            daemon.signal(number)
            assert daemon.wait() == 0
            assert "Traceback" not in "".join(daemon.err)


@pytest.mark.acceptance
def test_a_reload_that_came_early_is_made_after_the_start(tmp_path: Path) -> None:
    """Once, after `daemon.started`."""
    with Poller("run", cwd=tmp_path, environment=CREDENTIALS) as daemon:
        eventually(lambda: _handles(daemon.process.pid))
        daemon.signal(signal.SIGHUP)
        daemon.signal(signal.SIGHUP)
        eventually(lambda: bool(daemon.logged("daemon.reloaded")))
        assert daemon.stop() == 0
    logged = [line["event"] for line in daemon.logs]
    assert logged.index("daemon.started") < logged.index("daemon.reloaded")
    assert logged.count("daemon.reloaded") == 1


def _handles(pid: int) -> bool:
    """Whether the process handles SIGHUP by now; before, the interpreter itself starts."""
    status = Path(f"/proc/{pid}/status").read_text()
    (caught,) = (line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGHUP - 1) & 1)
