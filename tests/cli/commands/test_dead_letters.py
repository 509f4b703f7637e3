"""`poller dead-letters`: what was given up, chosen by sink, operation and time."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import typer
from anyio import run

from poller.cli.commands.dead_letters import list_dead_letters
from poller.cli.dead_letters import moment
from poller.cli.session import Target
from poller.settings import SettingsError
from poller.store.errors import StoreUnavailable
from poller.text import format_instant
from tests.cli.stored_dead_letters import make_letters
from tests.cli.surroundings import Surroundings
from tests.store.scenes import op

NOW = datetime.now(UTC)
ENDS = [NOW - timedelta(days=3), NOW - timedelta(hours=5), NOW - timedelta(hours=3)]
Letters = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Give up three events for two sinks: the store, and the events' ids."""
    path = tmp_path_factory.mktemp("made") / "poller.db"
    return path, run(partial(make_letters, path, ends=ENDS, sinks=["app", "log"]))


def listed(*, limit: int = 100, json_output: bool = True, **chosen: str | None) -> int:
    """Run the command."""
    options: dict[str, str | None] = dict.fromkeys(("sink", "operation", "since", "until"))
    options |= chosen
    return list_dead_letters(Target(None), **options, limit=limit, json_output=json_output)


@pytest.fixture
def letters(event_ids: list[str], capsys: pytest.CaptureFixture[str]) -> Letters:
    """Return `letters(…)`: what the command lists as JSON."""
    del event_ids

    def run_it(**chosen: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - options of any type
        assert listed(**chosen) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run_it


def test_every_letter_is_reported_in_full(letters: Letters, event_ids: list[str]) -> None:
    """Each event is listed once a sink, in the order of recording, with its last error."""
    found = letters()
    assert [(letter["eventId"], letter["sink"]) for letter in found] == [
        (event_id, sink) for event_id in event_ids for sink in ("app", "log")
    ]
    assert found[0] | {"diedAt": ""} == {
        "eventId": event_ids[0],
        "sink": "app",
        "type": "operation.completed",
        "operationId": op(1),
        "sequence": 1,
        "recordedAt": format_instant(ENDS[0]),
        "diedAt": "",
        "attempts": 2,
        "lastStatus": 422,
        "lastError": "app answered 422: no such field",
    }


@pytest.mark.parametrize(
    ("chosen", "numbers"),
    [
        pytest.param({"sink": "app"}, [1, 2, 3], id="sink"),
        pytest.param({"sink": "app", "operation": op(2)}, [2], id="operation"),
        pytest.param({"sink": "app", "since": "4h"}, [3], id="since-ago"),
        pytest.param({"sink": "app", "until": "1d"}, [1], id="until-ago"),
        pytest.param({"sink": "log", "since": "2d", "until": "4h"}, [2], id="between"),
        pytest.param({"sink": "log", "since": format_instant(ENDS[1])}, [2, 3], id="instant"),
        pytest.param({"sink": "log", "since": "9999999d"}, [1, 2, 3], id="before-all-time"),
    ],
)
def test_letters_are_chosen(letters: Letters, chosen: dict[str, str], numbers: list[int]) -> None:
    """Options narrow the list, all of them at once; times are instants or so long ago."""
    assert [letter["operationId"] for letter in letters(**chosen)] == [op(n) for n in numbers]


def test_more_than_the_limit(event_ids: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A list that was cut says so, apart from the list."""
    del event_ids
    assert listed(limit=2) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert err == "poller: there are more; --limit is 2\n"


def test_lines_for_a_pipe(event_ids: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe a letter is a line with its cells apart by tabs, below a line of names."""
    assert listed(json_output=False, sink="log") == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split("\t")[:4] == ["EVENT", "SINK", "TYPE", "SUBJECT"]
    assert [line.split("\t")[:2] for line in lines] == [[one, "log"] for one in event_ids]
    assert lines[0].endswith("\t2\tlog answered 422: no such field")


def test_nothing_says_where_it_looked(
    event_ids: list[str], here: Surroundings, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty list names account, API and store: they may not be the daemon's."""
    del event_ids
    here.set(TWILIO_ACCOUNT_SID="ACother")
    assert listed() == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "account ACother at https://comms.twilio.com/v1 in sqlite:///poller.db" in err


def test_an_unknown_sink_is_reported(
    event_ids: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that the store never heard of is trouble, with those that it knows."""
    del event_ids
    with pytest.raises(typer.Exit) as ended:
        listed(sink="nope")
    assert ended.value.exit_code == 1
    expected = "poller: --sink: the store knows no sink 'nope'; it knows: app, log\n"
    assert capsys.readouterr().err == expected


def test_a_store_that_is_not_there(here: Surroundings) -> None:
    """A list makes no store."""
    with pytest.raises(StoreUnavailable, match=r"there is no store at poller\.db"):
        listed()
    assert here.files() == []


def test_settings_are_checked(here: Surroundings) -> None:
    """Bad settings of the store are reported where the store itself is read."""
    here.set(POLLER_STORE__ULR="x")
    with pytest.raises(SettingsError):
        listed()


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("since", "yesterday"),
        ("since", "2026-11-22"),
        ("since", "2026-11-22T10:00:00"),
        ("until", "5"),
        ("until", ""),
        ("since", "-2h"),
        ("operation", "nope"),
    ],
)
def test_bad_options_name_themselves(here: Surroundings, option: str, text: str) -> None:
    """What cannot be read is refused with the option's name and an example."""
    del here
    with pytest.raises(typer.BadParameter) as refused:
        listed(limit=1, json_output=True, **{option: text})
    assert refused.value.param_hint == f"--{option}"
    assert repr(text) in refused.value.message


def test_a_span_must_not_be_empty(here: Surroundings) -> None:
    """Begin and end in the wrong order are a mistake, not an empty list."""
    del here
    with pytest.raises(typer.BadParameter):
        listed(since="1h", until="2h")


def test_ago_is_before_now() -> None:
    """A duration counts back from now, an instant stands for itself in UTC."""
    assert moment("2h", now=NOW, option="--since") == NOW - timedelta(hours=2)
    instant = moment("2026-11-22T11:00:00+01:00", now=NOW, option="--since")
    assert instant == datetime(2026, 11, 22, 10, tzinfo=UTC)
    assert moment(None, now=NOW, option="--since") is None
