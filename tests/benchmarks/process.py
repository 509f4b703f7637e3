"""What a process costs, read from `/proc`."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Cost", "cost_of"]

_TICKS: Final = os.sysconf("SC_CLK_TCK")
# the second field is the command in parentheses, which may hold anything
_UTIME, _STIME = 11, 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Seconds of CPU so far, and MiB resident now."""

    cpu: float
    rss: float


def cost_of(pid: int) -> Cost:
    """Read the cost of a process that runs."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    [rss] = (line.split()[1] for line in status if line.startswith("VmRSS:"))
    return Cost(
        cpu=(int(fields[_UTIME]) + int(fields[_STIME])) / _TICKS,
        rss=int(rss) / 1024,
    )
