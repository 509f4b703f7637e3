"""What a probe found."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

__all__ = ["Finding", "State"]


class State(StrEnum):
    """How grave a finding is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at: `subject` is the setting or table of settings it is about.

    `fix` says what to do where it is not in order. `is_usage` tells what is wrong with how the
    poller was called from what is wrong with the world. No text holds a secret.
    """

    subject: str
    state: State
    message: str
    fix: str | None = None
    is_usage: bool = False

    @classmethod
    def ok(cls, subject: str, message: str) -> Self:
        """Say that something is in order."""
        return cls(subject=subject, state=State.OK, message=message)

    @classmethod
    def warning(cls, subject: str, message: str, *, fix: str) -> Self:
        """Say that something works, but probably not as it is meant to."""
        return cls(subject=subject, state=State.WARNING, message=message, fix=fix)

    @classmethod
    def problem(
        cls, subject: str, message: str, *, fix: str | None, is_usage: bool = False
    ) -> Self:
        """Say that something must be mended."""
        return cls(
            subject=subject, state=State.PROBLEM, message=message, fix=fix, is_usage=is_usage
        )

    @property
    def sentence(self) -> str:
        """The message and the fix on one line."""
        return self.message if self.fix is None else f"{self.message}. Fix: {self.fix}"
