"""`python -m tests.benchmarks`: measure, print, and write tables into `results/`."""

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.benchmarks import cluster, copying, delivery, fleet, groups, retention, start
from tests.benchmarks.pacing import Figures, measure
from tests.benchmarks.plot import draw
from tests.benchmarks.report import pacing_report, table

_RESULTS: Final = Path(__file__).parent / "results"
_SEED: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much to measure: operations of each kind of benchmark, and seconds.

    `stored` counts the ended and the active operations of a large store.
    """

    alone: int
    together: int
    fleets: Sequence[int]
    seconds: float
    deliveries: int
    starts: int
    members: int
    steps: int
    stored: tuple[int, int]


_EFFORTS: Final[Mapping[str, Effort]] = {
    "quick": Effort(
        alone=40,
        together=40,
        fleets=(1_000,),
        seconds=5,
        deliveries=1_000,
        starts=7,
        members=1_000,
        steps=300,
        stored=(20_000, 10_000),
    ),
    "usual": Effort(
        alone=100,
        together=200,
        fleets=(1_000, 10_000),
        seconds=20,
        deliveries=5_000,
        starts=15,
        members=10_000,
        steps=1_500,
        stored=(200_000, 100_000),
    ),
    "full": Effort(
        alone=300,
        together=1_000,
        fleets=(1_000, 10_000, 100_000),
        seconds=40,
        deliveries=20_000,
        starts=31,
        members=10_000,
        steps=5_000,
        stored=(200_000, 100_000),
    ),
}


def _pacing(effort: Effort) -> str:
    figures: list[Figures] = []
    for figure in measure(operations=effort.alone, together=effort.together, seed=_SEED):
        figures.append(figure)
        _say(f"{figure.workload}: {figure.policy}: {figure.requests:.1f}, p95 {figure.p95:.2f} s")
    (_RESULTS / "pacing.svg").write_text(draw(figures), encoding="utf-8")
    return pacing_report(figures)


def _fleet(effort: Effort) -> str:
    with tempfile.TemporaryDirectory() as directory:
        rows = []
        for row in fleet.measure(effort.fleets, seconds=effort.seconds, directory=Path(directory)):
            rows.append(row)
            _say(str(row))
    return table(rows)


def _delivery(effort: Effort) -> str:
    with tempfile.TemporaryDirectory() as directory:
        return table(delivery.measure(effort.deliveries, directory=Path(directory)))


def _start(effort: Effort) -> str:
    with tempfile.TemporaryDirectory() as directory:
        return table(start.measure(effort.starts, directory=Path(directory)))


def _groups(effort: Effort) -> str:
    with tempfile.TemporaryDirectory() as directory:
        return table(groups.measure(effort.members, directory=Path(directory)))


def _cluster(effort: Effort) -> str:
    rows = []
    for row in cluster.measure(effort.steps):
        rows.append(row)
        _say(str(row))
    return table(rows)


def _retention(effort: Effort) -> str:
    rows = []
    for row in retention.measure(*effort.stored):
        rows.append(row)
        _say(str(row))
    return table(rows)


def _copying(effort: Effort) -> str:
    return table(list(copying.measure(*effort.stored)))


_BENCHMARKS: Final[Mapping[str, Callable[[Effort], str]]] = {
    "pacing": _pacing,
    "fleet": _fleet,
    "delivery": _delivery,
    "start": _start,
    "groups": _groups,
    "cluster": _cluster,
    "retention": _retention,
    "copying": _copying,
}


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - it is a command


def main() -> None:
    """Run the benchmarks that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(_BENCHMARKS))
    effort = parser.add_mutually_exclusive_group()
    effort.add_argument("--quick", action="store_const", const="quick", dest="effort")
    effort.add_argument("--full", action="store_const", const="full", dest="effort")
    chosen = parser.parse_args()
    unknown = set(chosen.names) - set(_BENCHMARKS)
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    _RESULTS.mkdir(exist_ok=True)
    for name in chosen.names or _BENCHMARKS:
        report = _BENCHMARKS[name](_EFFORTS[chosen.effort or "usual"])
        path = _RESULTS / f"{name}.md"
        path.write_text(f"# {name}\n\n{report}", encoding="utf-8")
        _say(f"\n{report}\nwritten to {path}")


if __name__ == "__main__":
    main()
