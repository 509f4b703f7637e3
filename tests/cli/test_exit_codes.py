"""Exit 2 where only a change can fix it, so that a service manager stops trying; else exit 1."""

import errno
import fcntl
import socket
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from poller.cli.app import app
from poller.os_errors import needs_change
from poller.store import sqlite
from poller.store.lock import FileLock
from tests.cli.surroundings import Surroundings

CREDENTIALS = {"TWILIO_ACCOUNT_SID": "AC1", "TWILIO_AUTH_TOKEN": "t"}
FILE = ("sinks.out.type=file",)
WEBHOOK = ("sinks.out.type=webhook", "sinks.out.url=https://127.0.0.1:1/")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Settings of `run`, what surrounds it, and the exit code and words that must come of it."""

    settings: tuple[str, ...]
    code: int
    words: str
    environment: dict[str, str] = field(default_factory=dict)
    around: Callable[[pytest.MonkeyPatch], AbstractContextManager[object]] = nullcontext


@contextmanager
def port_taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Listen on a port that the settings of `run` name as well."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("POLLER_SERVER__LISTEN", f"127.0.0.1:{listener.getsockname()[1]}")
        yield


@contextmanager
def bind_refused(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Refuse to bind, as for a port below 1024 without the right to it."""

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    yield


@contextmanager
def socket_alive(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Listen on a unix socket where `run` is to listen."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("alive.sock")
        listener.listen()
        monkeypatch.setenv("POLLER_SERVER__LISTEN", f"unix:{Path.cwd()}/alive.sock")
        yield


@contextmanager
def no_driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hide the driver of PostgreSQL."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    yield


@contextmanager
def store_in_use(_: pytest.MonkeyPatch) -> Iterator[None]:
    """Hold the store, as another daemon does."""
    lock = FileLock(Path("poller.db")).acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def newer_store(_: pytest.MonkeyPatch) -> Iterator[None]:
    """Make a store of a later program."""
    with sqlite3.connect("poller.db") as connection:
        connection.execute("CREATE TABLE alembic_version (version_num)")
        connection.execute("INSERT INTO alembic_version VALUES ('9999')")
    connection.close()
    yield


@contextmanager
def file_held(_: pytest.MonkeyPatch) -> Iterator[None]:
    """Write the sink's file, as another process does."""
    with Path("held.ndjson").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


FAULTS = {
    # what only a change fixes
    "hints that anybody could push": Fault(
        settings=("server.hints=127.0.0.1:0",), code=2, words="server.hints_user"
    ),
    "unknown database": Fault(settings=("store.url=mysql://h/d",), code=2, words="store.url"),
    "store's directory is missing": Fault(
        settings=("store.url=sqlite:///absent/x.db",), code=2, words="absent"
    ),
    "store's directory is a file": Fault(
        settings=("store.url=sqlite:///plain/x.db",), code=2, words="plain"
    ),
    "store is a directory": Fault(settings=("store.url=sqlite:///made",), code=2, words="made"),
    "store is no database": Fault(settings=("store.url=sqlite:///plain",), code=2, words="plain"),
    "store is newer": Fault(settings=(), code=2, words="9999", around=newer_store),
    "no driver": Fault(
        settings=("store.url=postgresql://h/d",), code=2, words="no driver", around=no_driver
    ),
    "sink's directory is missing": Fault(
        settings=(*FILE, "sinks.out.path=HERE/absent/e"), code=2, words="sinks.out: "
    ),
    "sink's directory is a file": Fault(
        settings=(*FILE, "sinks.out.path=HERE/plain/e"), code=2, words="sinks.out: "
    ),
    "sink is a device": Fault(
        settings=(*FILE, "sinks.out.path=/dev/full"), code=2, words="sinks.out: "
    ),
    "socket's directory is missing": Fault(
        settings=("server.listen=unix:/absent/p.sock",), code=2, words="RuntimeDirectory"
    ),
    "no socket at the socket's path": Fault(
        settings=("server.observe=unix:/etc/passwd",), code=2, words="is not a socket"
    ),
    "port of the system": Fault(
        settings=("server.listen=127.0.0.1:80",), code=2, words="above 1023", around=bind_refused
    ),
    "certificates are missing": Fault(
        settings=WEBHOOK, code=2, words="SSL_CERT_FILE", environment={"SSL_CERT_FILE": "absent"}
    ),
    "config is missing": Fault(
        settings=(), code=2, words="absent.toml", environment={"POLLER_CONFIG": "absent.toml"}
    ),
    "config is a directory": Fault(
        settings=(), code=2, words="made", environment={"POLLER_CONFIG": "made"}
    ),
    # what may pass by itself
    "store is in use": Fault(settings=(), code=1, words="another daemon", around=store_in_use),
    "database does not answer": Fault(
        settings=("store.url=postgresql://127.0.0.1:9/x",), code=1, words="refused"
    ),
    "sink's file is held": Fault(
        settings=(*FILE, "sinks.out.path=HERE/held.ndjson"), code=1, words="held", around=file_held
    ),
    "port is taken": Fault(settings=(), code=1, words="already in use", around=port_taken),
    "socket is taken": Fault(settings=(), code=1, words="another process", around=socket_alive),
    "address of no interface, yet": Fault(
        settings=("server.listen=192.0.2.1:1", "server.observe="),
        code=1,
        words="assign",
        environment={"POLLER_SERVER__TOKEN": "t"},
    ),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_the_exit_code_of_a_start_that_fails(
    here: Surroundings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fault: Fault,
) -> None:
    """One message on standard error, and the code that decides whether to start it again."""
    here.set(CREDENTIALS, POLLER_SERVER__LISTEN="")
    here.set(fault.environment)
    here.directory.joinpath("plain").write_text("no database and no events, " * 99)
    here.directory.joinpath("made").mkdir()
    settings = [setting.replace("HERE", str(here.directory)) for setting in fault.settings]
    call = ["run", *(part for setting in settings for part in ("--set", setting))]
    with fault.around(monkeypatch), pytest.raises(SystemExit) as ended:
        app(call)
    said = capsys.readouterr().err
    assert (ended.value.code, "Traceback" in said) == (fault.code, False), said
    assert fault.words in said


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOENT, True),
        (errno.EACCES, True),
        (errno.EROFS, True),
        (errno.ENOSPC, False),
        (errno.EDQUOT, False),
        (errno.EMFILE, False),
        (errno.EIO, False),
        (errno.EADDRINUSE, False),
    ],
)
def test_errors_of_the_system(number: int, *, expected: bool) -> None:
    """A path or a permission must be changed; a full disk or a lack of descriptors passes."""
    assert needs_change(OSError(number, "")) is expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("SQLITE_CANTOPEN", True),
        ("SQLITE_READONLY_DIRECTORY", True),
        ("SQLITE_CORRUPT", True),
        ("SQLITE_FULL", False),
        ("SQLITE_BUSY", False),
        ("SQLITE_IOERR_WRITE", False),
    ],
)
def test_errors_of_sqlite(name: str, *, expected: bool) -> None:
    """The same for what SQLite says of its file."""
    error = sqlite3.OperationalError("…")
    error.sqlite_errorname = name
    assert sqlite.needs_change(error) is expected
