"""What a long run is measured by, and what counts as flat.

A series is flat where the least-squares line through it, over the whole time looked at, rises by
no more than an allowance. A line, and not first against last: a garbage collector and a write-
ahead log make teeth, and only their trend says anything.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Sample", "rise", "table", "take"]

_KIB: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look: seconds since the start; sizes in KiB.

    `known` counts operations in the store, stubs included, `queue` the deliveries. `watches_kib`
    is the table that keeps a stub for every ended operation and what indexes it, `other_kib` all
    the rest of the database, its free pages included.
    """

    at: float
    rss_kib: int
    descriptors: int
    threads: int
    watches_kib: int
    other_kib: int
    wal_kib: int
    known: int
    queue: int


def take(at: float, pid: int, database: Path) -> Sample:
    """Look at a process and at its store, from outside."""
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    wal = database.with_name(database.name + "-wal")
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        sizes = dict(
            connection.execute(
                "SELECT tbl_name, sum(pgsize) FROM dbstat JOIN sqlite_schema USING (name) "
                "GROUP BY tbl_name"
            ).fetchall()
        )
        [(pages,)] = connection.execute("PRAGMA page_count").fetchall()
        [(page,)] = connection.execute("PRAGMA page_size").fetchall()
        [(known,)] = connection.execute("SELECT count(*) FROM watches").fetchall()
        [(queue,)] = connection.execute("SELECT count(*) FROM deliveries").fetchall()
    return Sample(
        at=at,
        rss_kib=int(status["VmRSS"].split()[0]),
        descriptors=len(list(Path(f"/proc/{pid}/fd").iterdir())),
        threads=int(status["Threads"]),
        watches_kib=sizes["watches"] // _KIB,
        other_kib=(pages * page - sizes["watches"]) // _KIB,
        wal_kib=wal.stat().st_size // _KIB if wal.exists() else 0,
        known=known,
        queue=queue,
    )


def rise(samples: Sequence[Sample], field: str) -> float:
    """Tell by how much the fitted line of a field rises from the first sample to the last."""
    times = [sample.at for sample in samples]
    values = [float(getattr(sample, field)) for sample in samples]
    middle, mean = sum(times) / len(times), sum(values) / len(values)
    spread = sum((time - middle) ** 2 for time in times)
    slope = sum((t - middle) * (v - mean) for t, v in zip(times, values, strict=True)) / spread
    return slope * (times[-1] - times[0])


def table(samples: Sequence[Sample], *, rows: int = 25) -> str:
    """Draw a table of about `rows` samples, the first and the last among them."""
    step = max(1, len(samples) // rows)
    shown = [*samples[:-1:step], samples[-1]]
    heads = ("s", "rss KiB", "fds", "threads", "watches KiB", "other KiB", "wal KiB", "known", "q")
    lines = [" ".join(f"{head:>11}" for head in heads)]
    for s in shown:
        row = (
            round(s.at), s.rss_kib, s.descriptors, s.threads,
            s.watches_kib, s.other_kib, s.wal_kib, s.known, s.queue,
        )  # fmt: skip
        lines.append(" ".join(f"{value:>11,}" for value in row))
    return "\n".join(lines)
