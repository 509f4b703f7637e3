"""As much of a Dockerfile as the tests ask about: instructions by stage."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Stage", "stages"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage: its instructions in order, as name and arguments."""

    instructions: Sequence[tuple[str, str]]

    def all(self, name: str) -> list[str]:
        """Return the arguments of every instruction of this name."""
        return [arguments for each, arguments in self.instructions if each == name]

    def one(self, name: str) -> str:
        """Return the arguments of the only instruction of this name."""
        (arguments,) = self.all(name)
        return arguments

    def command(self, name: str) -> list[str]:
        """Return an exec-form instruction's words; a shell form is an error."""
        line = self.one(name)
        words: list[str] = json.loads(line[line.index("[") :])
        return words

    @property
    def environment(self) -> Mapping[str, str]:
        """What the stage sets."""
        pairs = (pair for line in self.all("ENV") for pair in shlex.split(line))
        return dict(pair.split("=", 1) for pair in pairs)

    @property
    def copied(self) -> list[str]:
        """What comes from the build context."""
        lines = [shlex.split(line) for line in self.all("COPY")]
        return [word for line in lines if "--from" not in line[0] for word in line[:-1]]


def stages(file: Path) -> list[Stage]:
    """Read the stages of a Dockerfile."""
    text = re.sub(r"^#.*\n", "", file.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found: list[list[tuple[str, str]]] = []
    for line in filter(None, text.splitlines()):
        name, _, arguments = line.partition(" ")
        if name == "FROM":
            found.append([])
        if found:
            found[-1].append((name, arguments.strip()))
    return [Stage(instructions=each) for each in found]
