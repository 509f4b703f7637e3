"""The size of a store for each operation, and how fast `poller store copy` is, with its memory.

The operations are those of `retention`: ended ones, each with three events that were delivered to
one sink, and active ones without events.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from sqlalchemy import text

from poller.store.database import Database
from poller.tracking.watch import AccountScope
from tests.benchmarks.retention import make_templates, multiply
from tests.store.cluster import DURABLE, running

__all__ = ["measure"]

Row = dict[str, object]

_SCOPE: Final = AccountScope(account="AC1", base_url="https://comms.example.com/v1")
# in a process of its own, whose memory is that of the copy
_COPY: Final = """
import json, resource, sys, time
from poller.store.copy import copy_store
begun = time.perf_counter()
tables = copy_store(sys.argv[1], sys.argv[2], lambda table, rows: None)
took = time.perf_counter() - begun
print(json.dumps([sum(tables.values()), took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))
"""


def measure(ended: int, active: int) -> Iterator[Row]:
    """Measure stores with ended and active operations."""
    with TemporaryDirectory() as name, running(settings=DURABLE) as cluster:
        place = Path(name)
        for kind, numbers in (("ended", (ended, 1)), ("active", (1, active))):
            for store, url in (
                ("SQLite", f"sqlite:///{place / kind}.db"),
                ("PostgreSQL", cluster.url(cluster.create())),
            ):
                asyncio.run(make_templates(url, _SCOPE))
                empty = _size(url)
                multiply(url, *numbers)
                each = (_size(url) - empty) / max(numbers)
                yield {"what": f"bytes of an {kind} operation, {store}", "figure": round(each)}
        there, back = cluster.url(cluster.create()), f"sqlite:///{place / 'back.db'}"
        yield from _copy("SQLite to PostgreSQL", f"sqlite:///{place / 'ended.db'}", there)
        yield from _copy("PostgreSQL to SQLite", there, back)


def _copy(what: str, source: str, target: str) -> Iterator[Row]:
    done = subprocess.run(
        [sys.executable, "-c", _COPY, source, target], capture_output=True, text=True, check=True
    )
    rows, took, memory = json.loads(done.stdout)
    yield {"what": f"{what}: rows", "figure": rows}
    yield {"what": f"{what}: rows a second", "figure": round(rows / took)}
    yield {"what": f"{what}: most memory, MiB", "figure": round(memory / 1024)}


def _size(url: str) -> int:
    with closing(Database(url)) as database:
        if database.path is None:
            with database.reading() as connection:
                query = text("SELECT pg_database_size(current_database())")
                return int(connection.execute(query).scalar_one())
        # nobody has it open: its write-ahead log is part of the file again
        return database.path.stat().st_size
