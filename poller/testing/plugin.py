"""The pytest plugin: fixtures for applications that send. Imports little before first use."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from poller.testing import CommsSimulator, PollerDaemon


@pytest.fixture
def comms_simulator_options() -> Mapping[str, Any]:
    """Return options of `comms_simulator`; override it, for instance with `{"speed": 1}`.

    They are those of `poller simulate`: `seed`, `speed`, `fate`, `rate_429`, `rate_503` and so on.
    """
    return {}


@pytest.fixture
def comms_simulator(comms_simulator_options: Mapping[str, Any]) -> "Iterator[CommsSimulator]":
    """Serve a simulated Communications API on a free port of 127.0.0.1, for one test."""
    from poller.testing import CommsSimulator  # noqa: PLC0415 - only where it is used

    with CommsSimulator(**comms_simulator_options) as simulator:
        yield simulator


@pytest.fixture
def poller_settings() -> Mapping[str, Mapping[str, Any]]:
    """Return settings of `poller_daemon`, as tables of `poller.toml`; override it to add sinks.

    For instance `{"sinks": {"app": {"type": "webhook", "url": …, "secret": …}}}`.
    """
    return {}


@pytest.fixture
def poller_daemon(
    comms_simulator: "CommsSimulator",
    poller_settings: Mapping[str, Mapping[str, Any]],
    tmp_path: Path,
) -> "Iterator[PollerDaemon]":
    """Run a poller that watches `comms_simulator`, with a control API on a free port."""
    from poller.testing import PollerDaemon  # noqa: PLC0415 - only where it is used

    with PollerDaemon(comms_simulator, tmp_path / "poller.db", poller_settings) as daemon:
        yield daemon
