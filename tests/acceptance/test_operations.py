"""The page of operations: each of its commands is run as it stands there."""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from poller.store.database import Database
from poller.store.migrate import check_schema, migrate
from poller.store.migrations import HEAD
from tests.fakes.forked import install
from tests.fakes.process import Poller, eventually
from tests.fakes.simulated import Simulated
from tests.store.cluster import Cluster
from tests.store.test_copy import content, fill

pytestmark = pytest.mark.acceptance

PAGE = (Path(__file__).parents[2] / "config/operations.md").read_text()
BLOCKS: Mapping[str, str] = dict(
    re.findall(r"<!-- tested: ([\w ]+) -->\n *```sh\n(.*?)```", PAGE, re.DOTALL)
)


def shell(name: str, cwd: Path, **environment: str) -> str:
    """Run a block of the page; returns what it prints."""
    commands = cwd / "bin"
    commands.mkdir(exist_ok=True)
    install(commands)
    done = subprocess.run(
        ["/bin/sh", "-eu", "-c", BLOCKS[name]],
        cwd=cwd,
        env={
            "PATH": f"{commands}:{os.environ['PATH']}",
            "POLLER_SECRETS_DIR": str(cwd),
            "POLLER_SERVER__LISTEN": "",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def database(cluster: Cluster, tmp_path: Path) -> Iterator[str]:
    """Make an empty PostgreSQL database, with its URL in the file that the page names."""
    name = cluster.create()
    (tmp_path / "database.url").write_text(cluster.url(name))
    yield cluster.url(name)
    cluster.drop(name)


def make_store(path: Path) -> str:
    """Make a file with rows in every table; returns its URL."""
    url = f"sqlite:///{path}"
    with closing(Database(url)) as made:
        migrate(made)
    fill(url, lambda table: 0 if table.name == "counters" else 3)
    return url


def test_every_block_is_tested() -> None:
    """No command of the page stands without a mark."""
    assert len(BLOCKS) == PAGE.count("```sh") == 8


def test_what_is_restored_goes_on_to_its_end(tmp_path: Path) -> None:
    """A backup of a running daemon, restored beside the log of a killed one."""
    with Simulated() as api:
        operation = api.world.send(recipients=100).id
        run = ("run", "--json")
        with Poller(*run, operation, cwd=tmp_path, environment=api.environment) as daemon:
            eventually(lambda: bool(daemon.events))
            shell("backup", tmp_path)
            daemon.kill()
        assert (tmp_path / "backup.db").stat().st_mode & 0o777 == 0o600
        (tmp_path / "poller.db-wal").write_bytes(b"of another file")
        shell("restore", tmp_path)
        api.advance(600)
        with Poller(*run, "--until-idle", cwd=tmp_path, environment=api.environment) as daemon:
            assert daemon.wait() == 0
        assert [one["subject"] for one in daemon.events if one["data"]["final"]] == [operation]


def test_the_store_of_before_a_migration_is_put_back(tmp_path: Path) -> None:
    """What the newer program has made lies in a directory."""
    url = make_store(tmp_path / "poller.db")
    before = content(url)
    shell("backup", tmp_path)
    (tmp_path / "backup.db").rename(tmp_path / "poller.db.before-9999")
    with closing(Database(url)) as database, database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    shell("downgrade", tmp_path)
    assert content(url) == before
    with closing(Database(url)) as database:
        assert check_schema(database) == HEAD


def test_a_dump_restores_a_database(database: str, tmp_path: Path) -> None:
    """Over what was written since."""
    with closing(Database(database)) as made:
        migrate(made)
    fill(database, lambda table: 0 if table.name == "counters" else 3)
    before = content(database)
    shell("dump", tmp_path)
    with closing(Database(database)) as changed, changed.writing() as connection:
        connection.execute(text("DELETE FROM deliveries"))
        connection.execute(text("UPDATE counters SET value = 99"))
    shell("undump", tmp_path)
    assert content(database) == before


def test_a_store_moves_to_a_database_and_back(database: str, tmp_path: Path) -> None:
    """The new program's look at the store, the copy, and the way back."""
    before = content(make_store(tmp_path / "poller.db"))
    with Simulated() as api:
        assert "store" in shell("check", tmp_path, **api.environment)
        assert "events\t3\n" in shell("copy", tmp_path, **api.environment)
    assert content(database) == before
    assert "copied" in shell("copy back", tmp_path)
    assert content(f"sqlite:///{tmp_path / 'poller.db'}") == before
