"""Around every test of a misbehaviour: its row of the table is held, and no secret gets out."""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import structlog

from tests.fakes.api import ACCOUNT, TOKEN
from tests.fakes.process import Poller
from tests.faults.stage import SECRET, Clock, Stage
from tests.faults.table import rows_of
from tests.faults.wild import WildApi

# What a test itself writes for a daemon to read.
_INPUTS: Final = frozenset({"secrets", "poller.toml"})


@dataclass(kw_only=True)
class Witness:
    """Hears all that is said during a test, in this process and in others."""

    logs: list[Any]
    texts: list[str] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set)

    def keep_secret(self, *secrets: str) -> None:
        """Take note of what nobody may say, in any of the forms it travels in."""
        for secret in secrets:
            pair = base64.b64encode(f"{ACCOUNT}:{secret}".encode()).decode()
            self.secrets |= {secret, base64.b64encode(secret.encode()).decode(), pair}

    def hear(self, process: Poller) -> None:
        """Take what a process said, to its end."""
        self.logs += process.logs
        self.texts += [*process.out, *process.err]

    def logged(self, event: str) -> list[Mapping[str, Any]]:
        """Return the log lines of one event so far."""
        return [line for line in list(self.logs) if line["event"] == event]


@pytest.fixture(autouse=True)
def witness(
    request: pytest.FixtureRequest, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> Iterator[Witness]:
    """Afterwards: what the table says was logged, no defect was, and nothing secret was said."""
    with structlog.testing.capture_logs() as logs:
        witness = Witness(logs=logs)
        witness.keep_secret(TOKEN, SECRET.removeprefix("whsec_"))
        yield witness
    logged = {str(line["event"]) for line in witness.logs}
    for row in rows_of(request.node.path.name, request.node.name):
        assert logged.issuperset(row.logs), row.happens
    said = "\n".join([*map(str, witness.logs), *witness.texts, *capfd.readouterr()]).encode()
    written = {
        path: path.read_bytes()
        for path in tmp_path.rglob("*")
        if path.is_file() and not _INPUTS.intersection(path.relative_to(tmp_path).parts)
    }
    for secret in map(str.encode, witness.secrets):
        assert secret not in said
        assert not [path for path, content in written.items() if secret in content]


@pytest.fixture
def clock() -> Clock:
    """Give a clock that can jump."""
    return Clock()


@pytest.fixture
def api() -> Iterator[WildApi]:
    """Give a scripted API that can also answer in ways that are no HTTP."""
    with WildApi() as server:
        yield server


@pytest.fixture
def stage(api: WildApi, tmp_path: Path, clock: Clock, witness: Witness) -> Stage:
    """Give the place where the real engine runs against that API."""
    return Stage(api=api, directory=tmp_path, clock=clock, logs=witness.logs)
