"""The one place that guesses which known name was meant by an unknown one."""

import re
from collections.abc import Iterable
from difflib import SequenceMatcher
from typing import Final

_CUTOFF: Final = 0.75


def suggestion(word: str, known: Iterable[str]) -> str | None:
    """Return the known name that `word` most likely stands for, None unless one is close.

    Case does not matter. Names with parts, such as `operation.completed`, are close only when each
    part is: a long common beginning says nothing about the rest. Of two that are equally close
    neither is returned.
    """
    scored = sorted(((_likeness(word, name), name) for name in dict.fromkeys(known)), reverse=True)
    close = [(likeness, name) for likeness, name in scored if likeness >= _CUTOFF]
    if not close or (len(close) > 1 and close[0][0] == close[1][0]):
        return None
    return close[0][1]


def _likeness(word: str, name: str) -> float:
    """Return how alike two names are, from 0 to 1: that of the part in which they differ most."""
    parts, others = _parts(word), _parts(name)
    if len(parts) != len(others):
        parts, others = [word.lower()], [name.lower()]
    return min(
        SequenceMatcher(None, part, other, autojunk=False).ratio()
        for part, other in zip(parts, others, strict=True)
    )


def _parts(name: str) -> list[str]:
    return re.split(r"\.|__", name.lower())
