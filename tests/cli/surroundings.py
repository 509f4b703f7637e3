"""Where a command runs in tests: an empty directory, an environment with nothing of ours in it."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

__all__ = ["Surroundings", "surrounded"]

_OURS = ("POLLER_", "TWILIO_", "SSL_CERT")
_OTHERS = {"STATE_DIRECTORY", "CREDENTIALS_DIRECTORY"}


class Surroundings:
    """A directory that is the working directory, and an environment to be set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        self._monkeypatch = monkeypatch
        self.directory = directory

    def set(self, environment: Mapping[str, str] | None = None, /, **more: str) -> None:
        """Set variables."""
        for name, value in {**(environment or {}), **more}.items():
            self._monkeypatch.setenv(name, value)

    def files(self) -> list[str]:
        """List what is in the directory."""
        return sorted(path.name for path in self.directory.iterdir())


def surrounded(monkeypatch: pytest.MonkeyPatch, directory: Path) -> Surroundings:
    """Forget what the machine says of pollers and proxies, and work in `directory`."""
    for name in list(os.environ):
        if name.upper().startswith(_OURS) or name in _OTHERS or name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(directory)
    return Surroundings(monkeypatch, directory)
