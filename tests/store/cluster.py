"""A private PostgreSQL server for the tests: its own directory, a unix socket, no network."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path

from sqlalchemy import URL, create_engine, text

__all__ = ["DURABLE", "Cluster", "NoServer", "running"]

_OWNER = "poller"
# nothing of it outlives the session, so nothing need reach the disk
_FAST = (
    "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c listen_addresses=''"
    " -c deadlock_timeout=50ms -c lock_timeout=20s"
)
DURABLE = "-c listen_addresses=''"
"""The settings of a server as it ships."""

# Lives as long as its input is open: a server must not outlive tests that were killed.
_GUARD = """
programs=$1 directory=$2 owner=$3 settings=$4
"$programs/initdb" -D "$directory/data" -U "$owner" -A trust -E UTF8 --no-sync \\
    >"$directory/init.log" 2>&1 || exit 1
"$programs/pg_ctl" start -w -D "$directory/data" -l "$directory/server.log" \\
    -o "-k $directory $settings" >"$directory/start.log" 2>&1 || exit 1
echo ready
read -r _
"$programs/pg_ctl" stop -w -m immediate -D "$directory/data" >"$directory/stop.log" 2>&1
rm -rf "$directory"
"""


class NoServer(Exception):
    """There is no server to start; the message says what is missing."""


@dataclass(frozen=True)
class Cluster:
    """A running server; `socket` is the directory of its socket."""

    socket: Path

    def url(self, database: str) -> str:
        """Return the URL of a database, as a user writes it."""
        url = URL.create(
            "postgresql", username=_OWNER, database=database, query={"host": str(self.socket)}
        )
        return url.render_as_string()

    def create(self) -> str:
        """Make an empty database, and return its name."""
        name = f"poller_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return name

    def drop(self, name: str) -> None:
        """Remove a database, whoever still holds a connection to it."""
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, statement: str) -> None:
        """Run a statement as the server's superuser."""
        url = self.url("postgres").replace("postgresql:", "postgresql+psycopg:", 1)
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                connection.execute(text(statement))
        finally:
            engine.dispose()

    @cached_property
    def _numbers(self) -> Iterator[int]:
        return count(1)


@contextmanager
def running(*, settings: str = _FAST) -> Iterator[Cluster]:
    """Make a cluster, run it, and remove it.

    :raises NoServer: where no server is installed, or none may be started.
    """
    programs = _programs()
    # not below pytest's own directory: that is root's alone, and its path too long for a socket
    directory = Path(tempfile.mkdtemp(prefix="poller-pg-"))
    try:
        owner = _owner(directory)
        with subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "guard", programs, directory, _OWNER, settings],
            user=None if owner is None else owner.pw_uid,
            group=None if owner is None else owner.pw_gid,
            extra_groups=None if owner is None else (),
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # an interrupt from the keyboard ends us, and our end ends the guard
            start_new_session=True,
        ) as guard:
            assert guard.stdout is not None
            if guard.stdout.readline() != "ready\n":
                said = "".join(path.read_text() for path in sorted(directory.glob("*.log")))
                raise NoServer(f"the server in {programs} did not start: {said}")
            yield Cluster(socket=directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _programs() -> Path:
    found = shutil.which("initdb")
    if found is not None and shutil.which("pg_ctl") is not None:
        return Path(found).parent
    versions = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if not versions:
        raise NoServer("no initdb and pg_ctl found; tests/postgres.sh installs them")
    return max(versions, key=lambda path: float(path.parent.name))


def _owner(directory: Path) -> pwd.struct_passwd | None:
    """Say who runs the server, which refuses root, and give them the directory."""
    if os.geteuid() != 0:
        return None
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        raise NoServer("root cannot run it, and there is no user `postgres`") from None
    os.chown(directory, user.pw_uid, user.pw_gid)
    return user
