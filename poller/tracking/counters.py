"""Arithmetic on counters: an absent one is 0."""

from collections.abc import Mapping

__all__ = ["delta_between"]


def delta_between(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """Subtract counter by counter, signed; what did not change is left out."""
    names = [*after, *(name for name in before if name not in after)]
    return {
        name: difference
        for name in names
        if (difference := after.get(name, 0) - before.get(name, 0))
    }
