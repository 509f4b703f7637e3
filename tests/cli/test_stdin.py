"""Lines on standard input: read as they come, bounded, each refusal counted."""

import os
from collections.abc import Sequence
from typing import cast

import anyio
import pytest
from structlog.testing import capture_logs

from poller.cli.stdin import InputLine, StandardInput, read_lines, read_registration
from poller.engine.daemon import Daemon
from poller.store.errors import StoreUnavailable
from poller.store.registrations import Registered
from poller.tracking.registration import BadRegistration, Defaults, Registration
from tests.store.scenes import op

pytestmark = pytest.mark.anyio

LONGEST = 65_536


class Registrar:
    """A daemon that only registers; `refuses` is an id that contradicts what it knows."""

    def __init__(self, *, refuses: str = "", trouble: int = 0) -> None:
        self.ids: list[str] = []
        self._refuses = refuses
        self._trouble = trouble

    async def register(self, registrations: Sequence[Registration]) -> list[Registered]:
        """Stand in for the daemon's."""
        if self._trouble:
            self._trouble -= 1
            raise StoreUnavailable("store.url: full")
        self.ids += [one.id for one in registrations]
        return [
            Registered(
                id=one.id,
                watch=None,
                is_new=True,
                conflict="of another kind" if one.id == self._refuses else None,
            )
            for one in registrations
        ]


def pipe_of(content: bytes) -> int:
    """Return a descriptor that holds this and then ends; a pipe has room for so much."""
    reader, writer = os.pipe()
    os.write(writer, content)
    os.close(writer)
    return reader


async def registered(content: bytes, registrar: Registrar) -> tuple[StandardInput, list[int]]:
    """Let these lines be registered; the lines that were said to be refused."""
    fd = pipe_of(content)
    stdin = StandardInput(Defaults(), fd=fd)
    with capture_logs() as logs:
        await stdin.register(cast("Daemon", registrar))
    os.close(fd)
    return stdin, [line["line"] for line in logs if line["event"] == "stdin.skipped"]


async def test_every_refusal_is_counted() -> None:
    """What is no registration, and what contradicts what is known."""
    good, known = op(1), op(2)
    registrar = Registrar(refuses=known)
    text = f"{good}\n\nnonsense\n{known}\n{{bad json\n"
    stdin, refused = await registered(text.encode(), registrar)
    assert registrar.ids == [good, known]
    assert sorted(refused) == [3, 4, 5]
    assert stdin.refused == 3


async def test_lines_are_utf_8() -> None:
    """With a byte order mark or without; a label that is something else is not stored as `?`."""
    registrar = Registrar()
    latin = f'{{"id": "{op(2)}", "labels": {{"a": "hiver\u00e9"}}}}\n'.encode("latin-1")
    lines = b"\xef\xbb\xbf" + op(1).encode() + b"\n" + latin + op(3).encode()
    stdin, refused = await registered(lines, registrar)
    assert (registrar.ids, refused, stdin.refused) == ([op(1), op(3)], [2], 1)


async def test_a_store_in_trouble_loses_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked again."""
    monkeypatch.setattr("poller.cli.stdin._RETRY_SECONDS", 0.0)
    registrar = Registrar(trouble=2)
    stdin, refused = await registered(op(1).encode(), registrar)
    assert (registrar.ids, refused, stdin.refused) == ([op(1)], [], 0)


async def test_a_line_may_be_of_64_kib_and_no_longer() -> None:
    """Wherever the pieces that it is read in end; the lines after it keep their numbers."""
    reader, writer = os.pipe()
    found: list[InputLine] = []

    async def write() -> None:
        for content in (
            b"a" * LONGEST + b"\n",
            b"b" * (LONGEST + 1) + b"\n",
            b"c" * 200_000,
            b"\nd",
        ):
            await anyio.to_thread.run_sync(_write_all, writer, content)
        os.close(writer)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        async for lines in read_lines(reader):
            found += lines
    os.close(reader)
    assert [(line.number, line.fault) for line in found] == [
        (1, None),
        (2, "longer than 64 KiB"),
        (3, "longer than 64 KiB"),
        (4, None),
    ]
    assert (len(found[0].text), found[3].text) == (LONGEST, "d")


async def test_input_that_cannot_be_read_is_a_refusal() -> None:
    """A directory, a terminal that is gone: the end, and not all was read."""
    fd = os.open("/", os.O_RDONLY)
    lines = [line async for several in read_lines(fd) for line in several]
    os.close(fd)
    assert [line.number for line in lines] == [1]
    assert "Is a directory" in str(lines[0].fault)


def _write_all(fd: int, content: bytes) -> None:
    while content:
        content = content[os.write(fd, content) :]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (f'"{op(1)}"', "line: write an id without quotes or brackets, or an object such as"),
        ("[]", "line: write an id without quotes or brackets, or an object such as"),
        ('{"id": ' + "[" * 50_000, "registration: not valid JSON: nested too deeply"),
        ('{"id": ' + "1" * 5_000, "registration: not valid JSON: a number with too many digits"),
        (f'{{"id": "{op(1)}", "id": "{op(2)}"}}', "id: is given twice"),
    ],
    ids=["quoted", "list", "deep", "digits", "twice"],
)
async def test_a_line_that_is_no_registration_says_what_to_write(text: str, error: str) -> None:
    """In the reader's terms: neither Python's messages nor another fault."""
    with pytest.raises(BadRegistration) as caught:
        read_registration(InputLine(number=1, text=text), Defaults())
    assert str(caught.value).startswith(error)
