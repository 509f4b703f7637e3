"""The lines of `poller run` on a terminal."""

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from poller.cli import appearance as module
from poller.cli.appearance import Appearance, page_url
from poller.cli.screen import Screen, event_line, line_maker
from poller.sinks.base import OutgoingEvent
from poller.sinks.stdout import json_line
from poller.tracking.event import read_event
from tests.cli.commands.test_demo import event
from tests.cli.surroundings import Surroundings
from tests.golden.test_golden import compare

ERRORS = [
    {"code": 30003, "message": "Unreachable destination handset", "count": 80},
    {"code": 30005, "message": "Unknown destination handset", "count": 40},
]
BREAKDOWN = {"errors": ERRORS, "messages": [], "complete": True}
ALERT = {"name": "bad-numbers", "measure": "ratio", "value": 0.125, "threshold": 0.1}


def shown(width: int, *, plain: bool = False) -> Iterator[str]:
    """Draw what a campaign may come to, line by line."""
    for document in (
        event("scheduled", delta={}),
        event("progress"),
        event("alert", alert=ALERT),
        event("completed", final=True, labels={"campaign": "autumn", "team": "west"}),
        event("breakdown", breakdown=BREAKDOWN, delta={}),
        event("lost", reason="not_found", delta={}, labels={}),
    ):
        line = event_line(read_event(document), width=width, plain=plain)
        line.truncate(width, overflow="crop" if plain else "ellipsis")
        yield line.plain.rstrip()


def test_the_lines_of_events() -> None:
    """At 80 columns with the end of the id, at 120 with all of it."""
    pages = [f"{width} columns\n" + "\n".join(shown(width)) for width in (80, 120)]
    compare("run_lines.txt", "\n\n".join(pages) + "\n")


def test_no_line_is_wider_than_the_terminal() -> None:
    """Also in ASCII."""
    assert all(len(line) <= 80 for line in shown(80))
    assert all(line.isascii() for line in shown(120, plain=True))


def test_an_event_of_another_version_shows_as_it_is() -> None:
    """A screen that cannot read it must not keep it waiting for ever."""
    strange = event()
    strange["data"]["kind"] = "faxes"
    outgoing = OutgoingEvent(id="1", body=json.dumps(strange))
    assert line_maker(Screen(1))(outgoing) == json_line(outgoing)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://127.0.0.1:8470", "http://127.0.0.1:8470/"),
        ("http://0.0.0.0:8470", "http://127.0.0.1:8470/"),
        ("http://[::]:1", "http://[::1]:1/"),
        ("unix:/run/poller.sock", None),
        (None, None),
    ],
)
def test_where_the_page_is(address: str | None, expected: str | None) -> None:
    """A browser cannot open the address of all interfaces, nor a unix socket."""
    assert page_url(address) == expected


@pytest.mark.anyio
@pytest.mark.parametrize("found", [True, False, OSError("no display")])
async def test_a_browser_that_does_not_open_is_a_log_line(
    monkeypatch: pytest.MonkeyPatch,
    found: bool | OSError,  # noqa: FBT001
) -> None:
    """It ends nothing."""
    opened: list[str] = []

    def open_browser(url: str) -> bool:
        opened.append(url)
        if isinstance(found, OSError):
            raise found
        return found

    monkeypatch.setattr("webbrowser.open", open_browser)
    with capture_logs() as logs:
        await Appearance().show_page("http://127.0.0.1:8470", wants_open=True)
        await Appearance().show_page("unix:/run/poller.sock", wants_open=True)
    assert opened == ["http://127.0.0.1:8470/"]
    assert [line["event"] for line in logs] == ["page.not_opened"] * (1 if found is True else 2)


@pytest.mark.parametrize(
    ("settings", "level", "repeated"),
    [
        ({}, "info", False),
        ({"sinks.stdout.type": "stdout", "sinks.stdout.events": '["final"]'}, "info", True),
        ({}, "debug", True),
    ],
)
def test_the_log_repeats_no_event_of_the_same_terminal(
    here: Surroundings,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    level: str,
    repeated: bool,  # noqa: FBT001
) -> None:
    """Events that standard output does not show are still logged, and at debug everything is."""
    from poller.settings import SettingsLoader  # noqa: PLC0415

    here.set(TWILIO_ACCOUNT_SID="AC1", TWILIO_AUTH_TOKEN="t")
    chosen = [f"{key}={value}" for key, value in settings.items()]
    loaded = SettingsLoader(None, [*chosen, f"log.level={level}"]).load().settings
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    given: list[Any] = []
    monkeypatch.setattr(module, "configure_logs", lambda **options: given.append(options["only"]))
    Appearance(screen=Screen(1)).configure_logs(loaded)
    (only,) = given
    assert (only is None) is repeated
    if only is not None:
        with pytest.raises(structlog.DropEvent):
            only(None, "info", {"event": "event.recorded"})
        assert only(None, "info", {"event": "poll.failed"}) == {"event": "poll.failed"}


def test_a_pipe_has_ndjson(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a terminal with --json as well."""
    master, slave = os.openpty()
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        assert Appearance.of_stdout(json_output=True).line is json_line
        assert Appearance.of_stdout(json_output=False).line is not json_line
    os.close(master)
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert Appearance.of_stdout(json_output=False) == Appearance()
    os.close(reader)
