"""`poller store copy`: what it prints, and what it refuses."""

import json
import os
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import func, select
from typer.testing import CliRunner

from poller.cli.app import app
from poller.store.database import Database
from poller.store.lock import FileLock
from poller.store.migrate import migrate
from poller.store.schema import counters, metadata
from tests.cli.surroundings import Surroundings


@pytest.fixture
def store(here: Surroundings) -> Path:
    """Make the store of the default settings."""
    with closing(Database("sqlite:///poller.db")) as database:
        migrate(database)
    return here.directory / "poller.db"


def test_it_says_what_it_copied(here: Surroundings, store: Path) -> None:
    """A line for each table, and what to do next; other settings do not matter."""
    assert store.exists()
    here.set(POLLER_SINKS__APP__SECRET="x")
    result = CliRunner().invoke(app, ["store", "copy", "--to", "sqlite:///copy.db"])
    assert result.exit_code == 0
    *tables, last = result.stdout.splitlines()
    assert dict(line.split("\t") for line in tables) == {
        name: "1" if name == "counters" else "0" for name in metadata.tables
    }
    assert last == (
        "copied 1 rows; set store.url to sqlite:///copy.db before you start the daemon again"
    )
    with closing(Database("sqlite:///copy.db")) as database, database.reading() as connection:
        assert connection.execute(select(func.count()).select_from(counters)).scalar_one() == 1


def test_programs_get_json_and_the_target_from_a_file(here: Surroundings, store: Path) -> None:
    """The file may end with a line break."""
    assert store.exists()
    (here.directory / "target").write_text("sqlite:///copy.db\n")
    result = CliRunner().invoke(app, ["store", "copy", "--to-file", "target", "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document.pop("tables").keys() == metadata.tables.keys()
    assert document == {"from": "sqlite:///poller.db", "to": "sqlite:///copy.db", "rows": 1}


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ([], "one of them"),
        (["--to", "sqlite:///a.db", "--to-file", "a"], "one of them"),
        (["--to", "postgresql://user:secret@host/name"], "has a password"),
        (["--to", "sqlite://"], "a SQLite store must be a file"),
        (["--to", "mysql://host/name"], "neither SQLite nor PostgreSQL; write sqlite:///"),
        (["--to-file", "absent"], "absent: No such file"),
        (["--to-file", "."], "Is a directory"),
    ],
    ids=["none", "both", "password", "memory", "unknown", "absent", "directory"],
)
def test_a_target_that_cannot_be_one_is_bad_usage(
    store: Path, arguments: list[str], fault: str
) -> None:
    """It exits with 2, and shows no password."""
    result = CliRunner().invoke(app, ["store", "copy", *arguments])
    assert result.exit_code == 2
    assert fault in " ".join(result.output.replace("│", " ").split())
    assert "secret" not in result.output
    assert [path.name for path in store.parent.glob("*.db")] == ["poller.db"]


def test_a_running_daemon_is_trouble_that_passes(store: Path) -> None:
    """It exits with 1; a target that holds something needs a change."""
    lock = FileLock(store).acquire()
    result = CliRunner().invoke(app, ["store", "copy", "--to", "sqlite:///copy.db"])
    assert result.exit_code == 1
    assert f"poller.db is in use by a daemon (pid {os.getpid()}); stop it first" in result.output
    lock.release()
    result = CliRunner().invoke(app, ["store", "copy", "--to", "sqlite:///poller.db"])
    assert result.exit_code == 2
    assert "source and target" in result.output
