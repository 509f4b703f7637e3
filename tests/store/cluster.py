"""A private PostgreSQL server for the tests: its own directory, a unix socket, no network."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import URL, create_engine, text

__all__ = ["COMMITTING", "DURABLE", "Cluster", "NoServer", "running"]

_OWNER = "poller"
# nothing of it outlives the session, so nothing need reach the disk
_FAST = (
    "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c listen_addresses=''"
    " -c deadlock_timeout=50ms -c lock_timeout=20s"
)
DURABLE = "-c listen_addresses=''"
"""The settings of a server as it ships."""
COMMITTING = "-c listen_addresses='' -c fsync=off"
"""The settings of a server that keeps every commit, but for a crash of the machine."""

# Lives as long as its input is open: a server must not outlive tests that were killed.
_GUARD = """
programs=$1 directory=$2 owner=$3 settings=$4 source=$5
if [ -z "$source" ]; then
    "$programs/initdb" -D "$directory/data" -U "$owner" -A trust -E UTF8 --no-sync
else
    "$programs/pg_basebackup" -h "$source" -U "$owner" -D "$directory/data" -R -X stream -c fast
fi >"$directory/init.log" 2>&1 || exit 1
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
    """A running server; `socket` is the directory of its socket, `programs` that of `pg_ctl`."""

    socket: Path
    programs: Path
    owner: pwd.struct_passwd | None

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
        """Remove a database, even if somebody still holds a connection to it."""
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

    def control(self, *arguments: str) -> None:
        """Run `pg_ctl`, as `restart`, `promote`, `stop`, and wait for the end of what it does."""
        subprocess.run(
            [self.programs / "pg_ctl", *arguments, "-w", "-D", self.socket / "data"],
            **_as(self.owner),
            cwd=self.socket,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let every process of the server stand still until the end of the block."""
        main = int((self.socket / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(main, signal.SIGSTOP)  # it starts no other then
        stopped = [main]
        try:
            for child in _children(main):
                os.kill(child, signal.SIGSTOP)
                stopped.append(child)
            yield
        finally:
            for process in reversed(stopped):
                os.kill(process, signal.SIGCONT)

    @contextmanager
    def standby(self, *, settings: str) -> Iterator["Cluster"]:
        """Run a standby of this server, which has every commit before it is answered.

        :raises NoServer: where it does not start.
        """
        with running(settings=settings, source=self.socket) as standby:
            self.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            self.execute("SELECT pg_reload_conf()")
            yield standby

    @cached_property
    def _numbers(self) -> Iterator[int]:
        return count(1)


@contextmanager
def running(*, settings: str = _FAST, source: Path | None = None) -> Iterator[Cluster]:
    """Make a cluster, run it, and remove it; a standby of the server whose socket is in `source`.

    :raises NoServer: where no server is installed, or none may be started.
    """
    programs = _programs()
    # not below pytest's own directory: that is root's alone, and its path too long for a socket
    directory = Path(tempfile.mkdtemp(prefix="poller-pg-"))
    try:
        owner = _owner(directory)
        with subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "guard", programs, directory, _OWNER, settings, source or ""],
            **_as(owner),
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
            yield Cluster(socket=directory, programs=programs, owner=owner)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _as(owner: pwd.struct_passwd | None) -> dict[str, Any]:
    """Return how `subprocess` starts what this user runs; None for who we are."""
    if owner is None:
        return {}
    return {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": ()}


def _children(process: int) -> Iterator[int]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if path.read_text().rpartition(")")[2].split()[1] == str(process):
                yield int(path.parent.name)


def _programs() -> Path:
    found = shutil.which("initdb")
    if found is not None and shutil.which("pg_ctl") is not None:
        return Path(found).resolve().parent
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
