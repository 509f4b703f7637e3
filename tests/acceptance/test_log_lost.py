"""A daemon whose log cannot be written works on, answers, and stops when it is asked to."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.fakes.api import FakeApi, operation, operation_id
from tests.fakes.forked import Forked
from tests.fakes.process import command_environment, eventually
from tests.fakes.tls import NO_TLS

pytestmark = pytest.mark.acceptance

NAMES = [operation_id(number) for number in range(1, 21)]
DROPPED = "comms_poller_log_lines_dropped_total "


def fill(writer: int) -> None:
    """Leave no room in a pipe."""
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)


@contextmanager
def unwritable(how: str) -> Iterator[int]:
    """Give a descriptor that takes nothing: its reader is gone or stalls, or its disk is full."""
    reader, writer = os.pipe()
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        if how == "stalled":
            fill(writer)
        elif how == "gone":
            os.close(reader)
        yield full if how == "full" else writer
    finally:
        for fd in {writer, full} | ({reader} if how != "gone" else set()):
            os.close(fd)


@pytest.mark.parametrize("how", ["gone", "stalled", "full"])
def test_a_lost_log_costs_no_work(how: str, tmp_path: Path) -> None:
    """Registrations are answered 201, probes too, events go out, SIGTERM ends it in order."""
    with FakeApi() as api, unwritable(how) as stderr, (tmp_path / "out").open("w") as stdout:
        for name in NAMES:
            api.script(name, [operation(name, "COMPLETED", total=1, delivered=1)])
        address = tmp_path / "address"
        own = {**api.environment, "POLLER_SERVER__LISTEN": f"unix:{address}"}
        process = Forked(
            "run",
            "--set",
            "log.level=debug",
            cwd=tmp_path,
            env=command_environment(["run"], own),
            stdout=stdout.fileno(),
            stderr=stderr,
        )
        try:
            eventually(address.exists)
            transport = httpx.HTTPTransport(uds=str(address), retries=3, verify=NO_TLS)
            with httpx.Client(base_url="http://address", transport=transport, timeout=20) as client:
                for name in NAMES:
                    assert client.post("/v1/operations", json={"id": name}).status_code == 201
                eventually(lambda: (tmp_path / "out").read_text().count("\n") == len(NAMES))
                assert client.get("/healthz").status_code == 200
                assert client.get("/readyz").status_code == 200
                page = client.get("/metrics").text
            [dropped] = [line for line in page.splitlines() if line.startswith(DROPPED)]
            # what a stalled reader may still read waits, up to a bound
            assert (float(dropped.removeprefix(DROPPED)) > len(NAMES)) is (how != "stalled")
            begun = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
            assert time.monotonic() - begun < 15
        finally:
            process.kill()
            process.wait()
