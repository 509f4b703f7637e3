"""A start of the daemon: what it takes to be ready, and what it does not."""

import signal
from pathlib import Path

import httpx
import pytest

from tests.fakes.api import FakeApi
from tests.fakes.process import Poller, eventually
from tests.fakes.tls import NO_TLS

pytestmark = pytest.mark.acceptance

# the command twice in one interpreter, which prints on a signal what it has imported so far
PROGRAM = """
import signal, sys
from contextlib import suppress
from poller.cli import main

signal.signal(signal.SIGUSR1, lambda *_: print(*sys.modules, flush=True))
with suppress(SystemExit):
    main()
main()
"""
# for migrations alone
NOT_NEEDED = {"alembic"}


def imported(daemon: Poller) -> set[str]:
    """Ask a daemon for the names of the modules that it has imported."""
    before = len(daemon.out)
    daemon.signal(signal.SIGUSR1)
    eventually(lambda: len(daemon.out) > before)
    return set(daemon.out[-1].split())


def test_a_ready_daemon_has_imported_what_it_needs(tmp_path: Path) -> None:
    """On an empty store and then on a current one; what is asked of it later is imported then."""
    with FakeApi() as api:
        environment = {**api.environment, "POLLER_SERVER__LISTEN": "127.0.0.1:0"}
        command = Poller("run", cwd=tmp_path, environment=environment, program=("-c", PROGRAM))
        with command as daemon:
            for number, store in enumerate(("empty", "current"), start=1):
                eventually(lambda number=number: len(daemon.logged("server.listening")) == number)  # type: ignore[misc]
                url = str(daemon.logged("server.listening")[-1]["address"])
                with httpx.Client(
                    base_url=url, trust_env=False, timeout=30, verify=NO_TLS
                ) as client:
                    eventually(lambda client=client: client.get("/readyz").status_code == 200)  # type: ignore[misc]
                    assert client.get("/metrics").status_code == 200
                    found = imported(daemon)
                    assert found >= {"sqlalchemy", "uvicorn"}
                    assert found & NOT_NEEDED == set(), store
                    assert client.get("/v1/operations").status_code == 200
                daemon.signal(signal.SIGTERM)
            assert daemon.wait() == 0
