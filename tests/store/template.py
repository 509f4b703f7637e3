"""New stores without the work of making one: copies of an empty SQLite file, made once."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from poller.store.database import Database
from poller.store.migrate import migrate

__all__ = ["new_store"]


def new_store(path: Path) -> str:
    """Put an empty store of the current schema at `path` where no file is; returns its URL."""
    if not path.exists():
        path.write_bytes(_template())
    return f"sqlite:///{path}"


@cache
def _template() -> bytes:
    # in a thread of its own: this may be called on an event loop, which nothing may block
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(_make).result()


def _make() -> bytes:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "poller.db"
        database = Database(f"sqlite:///{path}")
        migrate(database)
        database.close()
        return path.read_bytes()
