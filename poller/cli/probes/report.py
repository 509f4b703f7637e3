"""The findings of `poller check`, and their report: for a terminal, as plain lines, or as JSON."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Final, Self

from rich.table import Table
from rich.text import Text

from poller.cli.output import is_terminal, print_table, terminal
from poller.settings import SettingRow


class State(StrEnum):
    """How severe a finding is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check: `subject` is the setting or table of settings it is about.

    `fix` says what to do, None if all is in order. `is_usage` means that settings or the command
    line are wrong, not the environment. No text contains a secret.
    """

    subject: str
    state: State
    message: str
    fix: str | None = None
    is_usage: bool = False

    @classmethod
    def ok(cls, subject: str, message: str) -> Self:
        """Make a finding: this is in order."""
        return cls(subject=subject, state=State.OK, message=message)

    @classmethod
    def warning(cls, subject: str, message: str, *, fix: str) -> Self:
        """Make a finding: this works, but probably not as intended."""
        return cls(subject=subject, state=State.WARNING, message=message, fix=fix)

    @classmethod
    def problem(
        cls, subject: str, message: str, *, fix: str | None, is_usage: bool = False
    ) -> Self:
        """Make a finding: this must be repaired."""
        return cls(
            subject=subject, state=State.PROBLEM, message=message, fix=fix, is_usage=is_usage
        )

    @property
    def sentence(self) -> str:
        """The message and the fix on one line."""
        return self.message if self.fix is None else f"{self.message}. Fix: {self.fix}"


_MARKS: Final[Mapping[State, tuple[str, str]]] = {
    State.OK: ("✓", "green"),
    State.WARNING: ("!", "yellow"),
    State.PROBLEM: ("✗", "red"),
}


def show_report(
    settings: Sequence[SettingRow], findings: Sequence[Finding], *, json_output: bool
) -> None:
    """Print the settings in force, then the findings.

    If standard output is not a terminal, each problem is a line on standard error as well.
    """
    if json_output:
        _print_json(settings, findings)
    else:
        print_table(
            ("SETTING", "VALUE", "FROM"), [(row.field, row.value, row.origin) for row in settings]
        )
        if is_terminal():
            _draw(findings)
        else:
            _write(findings)
    if not is_terminal():
        sys.stdout.flush()
        for finding in _problems(findings):
            sys.stderr.write(f"poller: {finding.subject}: {finding.sentence}\n")


def _print_json(settings: Sequence[SettingRow], findings: Sequence[Finding]) -> None:
    document = {
        "ok": not _problems(findings),
        "settings": [asdict(row) for row in settings],
        "checks": [
            {
                "subject": finding.subject,
                "state": finding.state.value,
                "message": finding.message,
                "fix": finding.fix,
            }
            for finding in findings
        ],
    }
    sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2) + "\n")


def _draw(findings: Sequence[Finding]) -> None:
    grid = Table.grid(padding=(0, 2, 0, 0))
    for finding in findings:
        mark, colour = _MARKS[finding.state]
        text = Text(finding.message, overflow="fold")
        if finding.fix is not None:
            text.append(f"\nFix: {finding.fix}", style="bold")
        grid.add_row(Text(mark, style=colour), Text(finding.subject), text)
    console = terminal()
    console.print(grid)
    console.print()
    console.print(Text(_verdict(findings), style="red" if _problems(findings) else "green"))


def _write(findings: Sequence[Finding]) -> None:
    sys.stdout.write("\n")
    for finding in findings:
        sys.stdout.write(f"{finding.state:<8}  {finding.subject}: {finding.sentence}\n")
    sys.stdout.write(f"\n{_verdict(findings)}\n")


def _verdict(findings: Sequence[Finding]) -> str:
    problems = len(_problems(findings))
    warnings = sum(finding.state is State.WARNING for finding in findings)
    counted = [
        f"{number} {word}{'s' if number > 1 else ''}"
        for number, word in ((problems, "problem"), (warnings, "warning"))
        if number
    ]
    return ", ".join(counted) or "everything is in order"


def _problems(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.state is State.PROBLEM]
