"""`poller verify`: what it prints, and how it exits."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from poller.cli.app import app
from poller.tracking.event import event_id
from poller.tracking.pacing import Policy
from tests.tracking.story import ID, START, Story

Verify = Callable[..., tuple[int, list[str]]]


def _lines() -> list[str]:
    story = Story(Policy(progress_interval=0))
    for queued in (3, 2, 1):
        story.see("PROCESSING", queued=queued)
    story.see("COMPLETED", delivered=3)
    return [
        event.render(event_id(START, number)) + "\n" for number, event in enumerate(story.events)
    ]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a whole history of four events."""
    monkeypatch.chdir(tmp_path)
    path = Path("events.ndjson")
    path.write_text("".join(_lines()), encoding="utf-8")
    return path


@pytest.fixture
def verify() -> Verify:
    """Return `verify(…)`: runs the command; its exit code and the lines of its output."""

    def run(*arguments: str | Path, stdin: str | bytes | None = None) -> tuple[int, list[str]]:
        result = CliRunner().invoke(app, ["verify", *map(str, arguments)], input=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result.exit_code, result.output.splitlines()

    return run


def _summary(events: int = 4, unfinished: int = 0, problems: int = 0, duplicates: int = 0) -> str:
    return (
        f"{events} events of 1 operation ({unfinished} unfinished), {duplicates} duplicates, "
        f"0 late, {problems} problem{'' if problems == 1 else 's'}"
    )


def test_a_clean_file(verify: Verify, file: Path) -> None:
    """The summary alone, and 0."""
    assert verify(file, "--ended") == (0, [_summary()])


def test_a_problem_is_one_line(verify: Verify, file: Path) -> None:
    """File, line, operation, what; then the summary, and 1."""
    file.write_text("".join(_lines()[i] for i in (0, 2, 3)), encoding="utf-8")
    code, lines = verify(file)
    assert code == 1
    assert lines == [
        f"events.ndjson:2: operation {ID}: sequence 2 is missing before 3",
        _summary(events=3, problems=1),
    ]


def test_gaps_and_ends_are_options(verify: Verify, file: Path) -> None:
    """A filtered sink has gaps; a running operation has no end."""
    file.write_text("".join(_lines()[i] for i in (0, 2)), encoding="utf-8")
    assert verify(file, "--allow-gaps") == (0, [_summary(events=2, unfinished=1)])
    code, lines = verify(file, "--allow-gaps", "--ended")
    assert code == 1
    assert lines[0] == f"events.ndjson:2: operation {ID}: no final event after sequence 3"


def test_several_files_in_their_order(verify: Verify, file: Path) -> None:
    """As logrotate left them; what is in both is a duplicate."""
    Path("events.1").write_text("".join(_lines()[:3]), encoding="utf-8")
    assert verify("events.1", file, "--ended") == (0, [_summary(duplicates=3)])


def test_standard_input(verify: Verify) -> None:
    """`-`; a torn last line is a problem."""
    text = "".join(_lines())
    assert verify("-", stdin=text) == (0, [_summary()])
    code, lines = verify("-", stdin=text[:-10])
    assert (code, lines[0]) == (1, "-:4: the last line is incomplete")


def test_standard_input_that_is_no_text(verify: Verify) -> None:
    """What is not UTF-8 is a problem of its line, not of the program."""
    code, lines = verify("-", stdin="".join(_lines()).encode() + b"\xff\n")
    assert (code, lines) == (1, ["-:5: not UTF-8", _summary(problems=1)])


def test_json(verify: Verify, file: Path) -> None:
    """A line per problem and one for the summary, for programs."""
    file.write_text("".join(_lines()[1:]) + "nonsense\n", encoding="utf-8")
    code, lines = verify(file, "--json")
    assert code == 1
    assert [json.loads(line) for line in lines] == [
        {
            "file": "events.ndjson",
            "line": 1,
            "fault": "gap",
            "subject": ID,
            "what": "sequence 1 is missing before 2",
        },
        {
            "file": "events.ndjson",
            "line": 4,
            "fault": "unreadable",
            "subject": None,
            "what": "not JSON",
        },
        {
            "summary": {
                "events": 3,
                "operations": 1,
                "groups": 0,
                "unfinished": 0,
                "duplicates": 0,
                "late": 0,
                "problems": 2,
            }
        },
    ]


@pytest.mark.parametrize("name", ["missing.ndjson", "."])
def test_a_file_that_cannot_be_read(verify: Verify, file: Path, name: str) -> None:
    """One message that names it, and 2, whatever was found before."""
    code, lines = verify(file, name)
    assert code == 2
    assert lines[-1].startswith(f"poller: cannot read {name}: ")


def test_no_file_is_bad_usage(verify: Verify) -> None:
    """There is no default."""
    code, _ = verify()
    assert code == 2
