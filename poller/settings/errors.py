"""Errors in settings, and how to correct them."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final

from pydantic_core import PydanticCustomError

from poller.addresses import Unusable

_CUTOFF: Final = 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsProblem:
    """One error in the settings, and its fix.

    `field` is the dotted name of a setting, a variable or a file. `value` is the value found there,
    as text, None for a secret or if there is nothing to show. `origin` is where it came from, None
    if it is missing everywhere.
    """

    field: str
    what: str
    fix: str
    origin: str | None = None
    value: str | None = None

    def __str__(self) -> str:
        head = self.field if self.value is None else f"{self.field} = {self.value}"
        origin = "" if self.origin is None else f" (from {self.origin})"
        return f"{head}{origin}: {self.what}.\n  Fix: {self.fix}"


class SettingsError(Exception):
    """The settings cannot be used; `problems` are all that were found, at least one."""

    def __init__(self, problems: Sequence[SettingsProblem]) -> None:
        super().__init__(problems)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return f"bad settings: {self.problems[0]}"
        listed = "\n".join(f"- {problem}" for problem in self.problems)
        return f"bad settings, {len(self.problems)} problems:\n{listed}"


def fault(what: str, fix: str, *, field: str | None = None) -> PydanticCustomError:
    """Return the error for a validator to raise; `field` names the wrong member of a table."""
    return PydanticCustomError("fault", "{what}", {"what": what, "fix": fix, "field": field})


@contextmanager
def as_fault() -> Iterator[None]:
    """Turn `Unusable` into the error of a setting.

    :raises PydanticCustomError: where the block raised `Unusable`.
    """
    try:
        yield
    except Unusable as error:
        raise fault(error.what, error.fix) from None


def suggestion(word: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most similar to `word`, None unless one is similar enough.

    Case does not matter. Names with parts, such as `operation.completed`, are similar only if each
    part is: a long common prefix says nothing about the rest. If two are equally similar, None is
    returned.
    """
    scored = sorted(((_likeness(word, name), name) for name in dict.fromkeys(known)), reverse=True)
    close = [(likeness, name) for likeness, name in scored if likeness >= _CUTOFF]
    if not close or (len(close) > 1 and close[0][0] == close[1][0]):
        return None
    return close[0][1]


def _likeness(word: str, name: str) -> float:
    """Return the similarity of two names, from 0 to 1: that of their least similar parts."""
    parts, others = _parts(word), _parts(name)
    if len(parts) != len(others):
        parts, others = [word.lower()], [name.lower()]
    return min(
        SequenceMatcher(None, part, other, autojunk=False).ratio()
        for part, other in zip(parts, others, strict=True)
    )


def _parts(name: str) -> list[str]:
    return re.split(r"\.|__", name.lower())
