"""Where commands run in tests, and a store with something in it."""

import shutil
from pathlib import Path

import pytest

from tests.cli.surroundings import Surroundings, surrounded


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Surroundings:
    """Work in an empty directory with an environment of our own."""
    return surrounded(monkeypatch, tmp_path)


@pytest.fixture
def event_ids(here: Surroundings, made: tuple[Path, list[str]]) -> list[str]:
    """Put a copy of the store that the test module has `made` here; the events' ids."""
    path, event_ids = made
    shutil.copy(path, here.directory)
    return event_ids
