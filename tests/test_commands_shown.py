"""Every command that a document, a help text or a message shows can be typed as it stands."""

import ast
import functools
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from typer import Exit
from typer.main import get_command
from typer.testing import CliRunner

from poller.cli.app import COMMANDS, app, load_command
from tests.cli.surroundings import surrounded
from tests.server.test_openapi import ROUTES

ROOT = Path(__file__).parent.parent
GROUP: Any = get_command(app)
NAMES = sorted(COMMANDS)
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("config/*.md")]
PAGES += ROOT.glob("deploy/**/*.md")
FILES = [
    path
    for directory in ("config", "deploy", "poller")
    for path in (ROOT / directory).rglob("*")
    if path.suffix in {".toml", ".example", ".yaml", ".json", ".env", ".service", ".mjs"}
    or path.name == "Dockerfile"
]
CODE = sorted((ROOT / "poller").rglob("*.py"))

BARE: Final = re.compile(rf"(?<![`/\w-])poller (?:{'|'.join(NAMES)}|--[a-z-]+)(?![\w-])")
SPAN: Final = re.compile(r"`([^`\n]+)`")
FENCE: Final = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
LIST: Final = re.compile(r"\[([^\[\]\n]*\bpoller\b[^\[\]\n]*)\]")
PRINTED: Final = re.compile(r"(?m)(?:^|(?<=: ))poller (?:--)?[a-z][^`\n]*$")
# a module without it shows no command, and need not be parsed
NAMED: Final = re.compile(r"\bpoller(?![\w.]| import)|own_command")
END: Final = re.compile(r"\s#|[|;&]|\s\d?[<>]")


def calls(text: str) -> Iterator[list[str]]:
    """Yield the arguments of each `poller` that a line of shell, or of a synopsis, calls."""
    text = re.sub(r"\{\{.*?\}\}", "X", text).replace("\\\n", " ")
    for part in re.split(END, text.replace("…", "")):
        # a synopsis: [--stdin] may be left out, ID stands for an id
        words = shlex.split(re.sub(r"[\[\]]", " ", part), posix=True)
        for place, word in enumerate(words):
            if word.rpartition("/")[2] in {"poller", "comms-poller"}:
                yield ["run" if one == "COMMAND" else one for one in words[place + 1 :]]


def is_call(text: str) -> bool:
    """Whether this is code that begins with the command."""
    return re.match(r"(\S*/)?poller( |$)", text) is not None


def on_page(page: str) -> Iterator[list[str]]:
    """Yield the commands in the blocks and spans of Markdown."""
    for language, block in FENCE.findall(page):
        if language == "sh":
            for line in block.replace("\\\n", " ").splitlines():
                if re.search(r"(^|[\s/|])poller\s", line.partition(" #")[0]):
                    yield from calls(line)
    for span in SPAN.findall(FENCE.sub("", page)):
        if is_call(span):
            yield from calls(span)


def in_file(text: str) -> Iterator[list[str]]:
    """Yield the commands in comments and members of files that are not prose."""
    for span in SPAN.findall(text):
        if is_call(span):
            yield from calls(span)
    for row in re.findall(r"(?m)^ExecStart=(.*)$", text):
        yield from calls(row)
    for items in LIST.findall(text):
        words = [item.strip(" \"'") for item in items.split(",")]
        if "poller" in words:
            yield words[words.index("poller") + 1 :]


@functools.cache
def strings(path: Path) -> Sequence[str]:
    """Return each string of a module as it is printed, with X for what is filled in."""

    def text_of(node: ast.AST) -> str:
        if isinstance(node, ast.Constant):
            return str(node.value)
        if isinstance(node, ast.FormattedValue) and "own_command" in ast.unparse(node):
            return "poller"
        return "X"

    text = path.read_text(encoding="utf-8")
    if not NAMED.search(text):
        return ()
    found: list[str] = []
    parts: set[int] = set()
    # a node comes before what it consists of
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.JoinedStr):
            parts.update(map(id, node.values))
            found.append("".join(text_of(part) for part in node.values))
        elif (
            isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts
        ):
            found.append(node.value)
    return found


def in_code(path: Path) -> Iterator[list[str]]:
    """Yield the commands in docstrings, help texts and messages."""
    for text in strings(path):
        for span in SPAN.findall(text):
            if is_call(span):
                yield from calls(span)
        for line in PRINTED.findall(text.replace("\\\n", " ")):
            yield from calls(line)


@functools.cache
def shown() -> dict[str, list[str]]:
    """Return every command that is shown anywhere, by what it looks like, each once."""
    found = [call for page in PAGES for call in on_page(page.read_text(encoding="utf-8"))]
    found += [call for file in FILES for call in in_file(file.read_text(encoding="utf-8"))]
    found += [call for module in CODE for call in in_code(module)]
    return {" ".join(call): call for call in found if call}


def parse(arguments: list[str]) -> None:
    """Let the command line read the arguments, and run nothing."""
    if not arguments[0].startswith("-"):
        command: Any = load_command(arguments[0])
        command.make_context(
            arguments[0], arguments[1:], parent=GROUP.make_context("poller", ["x"])
        )
    else:
        GROUP.make_context("poller", list(arguments))


def fault_of(arguments: list[str]) -> str | None:
    """Return what the command line has against these arguments."""
    if arguments == [arguments[0]] and arguments[0] in {"forget", "show", "verify", "watch"}:
        arguments = [*arguments, "X"]  # in prose a command's name stands alone
    try:
        parse(arguments)
    except Exit as end:  # --help and --version end at once
        return f"exit {end.exit_code}" if end.exit_code else None
    except Exception as error:  # noqa: BLE001 - whatever it is, the command cannot be typed
        return repr(error)
    return None


def test_the_command_line_understands_each() -> None:
    """The command exists, with these options and arguments."""
    faults = {name: fault_of(call) for name, call in shown().items()}
    assert {name: fault for name, fault in faults.items() if fault} == {}


@pytest.mark.parametrize(
    "line", ["--config p.toml run", "rnu", "run --untill-idle", "list --limit x"]
)
def test_what_cannot_be_typed_is_found(line: str) -> None:
    """The check itself."""
    assert fault_of(line.split()) is not None


def test_commands_were_found() -> None:
    """In each kind of place."""
    for line in (
        "run --config poller.toml",  # config/README.md
        "check --config poller.toml --send",  # README.md
        "show comms_operation_ --failed --csv",
        "run --stdin --until-idle",
        "check --config poller.toml",  # config/poller.toml
        "list --kind X",  # deploy/prometheus/alerts.yaml
        "health",
        "simulate --port 8480 --speed 10",  # deploy/README.md
        "replay X --to X",  # poller/cli/commands/show.py
        "--version",
    ):
        assert line in shown(), line
    assert len(shown()) > 40


def in_prose(path: Path) -> list[str]:
    """Return the commands in a file that stand neither in code nor at the end of a message."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        text = "\n\n".join(PRINTED.sub("", one.replace("\\\n", " ")) for one in strings(path))
    elif path.suffix == ".md":
        text = FENCE.sub("", text)
    return BARE.findall(SPAN.sub("", re.sub(r"(?m)^ExecStart=.*$", "", text)))


def test_no_command_hides_in_prose() -> None:
    """A command stands in backticks, or at the end of a line after a colon, and so is tested."""
    found = {str(path.relative_to(ROOT)): in_prose(path) for path in [*PAGES, *FILES, *CODE]}
    assert {name: commands for name, commands in found.items() if commands} == {}


def test_what_can_run_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With no daemon there: it says so, and nothing of bad usage."""
    here = surrounded(monkeypatch, tmp_path)
    here.set(POLLER_SERVER__LISTEN=f"unix:{tmp_path}/no.sock", POLLER_SECRETS_DIR=str(tmp_path))
    harmless = {"list", "sinks", "health", "dead-letters", "replay", "--help", "--version"}
    runnable = {
        name: call
        for name, call in shown().items()
        if "X" not in call and (call[0] in harmless or "--help" in call)
    }
    assert len(runnable) > 5
    for name, call in runnable.items():
        result = CliRunner().invoke(app, call)
        # alone it says what to choose from
        assert result.exit_code in ({2} if name == "replay" else {0, 1}), (name, result.output)
        assert result.exception is None or isinstance(result.exception, SystemExit), name


def test_the_example_settings_can_be_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`poller check --config poller.toml`, with the file that ships: nothing is wrong in it."""
    here = surrounded(monkeypatch, tmp_path)
    here.set(POLLER_SECRETS_DIR=str(tmp_path), POLLER_API__BASE_URL="http://127.0.0.1:9/v1")
    (tmp_path / "poller.toml").write_bytes((ROOT / "config/poller.toml").read_bytes())
    result = CliRunner().invoke(app, shown()["check --config poller.toml"])
    assert "no credentials" in result.output
    assert "store" in result.output


def test_every_route_that_curl_asks_exists() -> None:
    """The pages' requests go to routes that the description of the control API has."""
    lines = [
        line
        for page in PAGES
        for line in page.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
        if re.search(r"curl\b.*:8470/", line)
    ]
    assert len(lines) > 2
    for line in lines:
        path = re.sub(r".*:8470(/[^\s'\"`?]*).*", r"\1", line)
        method = "post" if re.search(r" -d | --data| -X POST", line) else "get"
        routes = [route for route, known in ROUTES if known == method]
        assert any(re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", route), path) for route in routes), line
