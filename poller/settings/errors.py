"""What can be wrong with settings, told so that the reader can mend it without asking anybody."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic_core import PydanticCustomError

from poller.sinks.receiver import Unusable

__all__ = ["SettingsError", "SettingsProblem", "as_fault", "fault"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsProblem:
    """One thing that is wrong.

    `field` is the dotted setting, variable or file it is about; `value` is what was found there,
    ready to be shown (None for a secret, or where there is nothing to show); `origin` says where
    the value came from, None where it came from nowhere.
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
    """The settings cannot be used: all the problems that were found, at least one."""

    def __init__(self, problems: Sequence[SettingsProblem]) -> None:
        super().__init__(problems)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return f"bad settings: {self.problems[0]}"
        listed = "\n".join(f"- {problem}" for problem in self.problems)
        return f"bad settings, {len(self.problems)} problems:\n{listed}"


def fault(what: str, fix: str, *, field: str | None = None) -> PydanticCustomError:
    """Return what a validator raises: the fault, the remedy, and the member it is about, if one."""
    return PydanticCustomError("fault", "{what}", {"what": what, "fix": fix, "field": field})


@contextmanager
def as_fault() -> Iterator[None]:
    """Let what a sink cannot use be the fault of a setting.

    :raises PydanticCustomError: where the block raised `Unusable`.
    """
    try:
        yield
    except Unusable as error:
        raise fault(error.what, error.fix) from None
