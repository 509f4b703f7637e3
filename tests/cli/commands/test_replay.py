"""`poller replay`: any kept event, or chosen dead letters, are due again."""

import fcntl
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import typer
from anyio import run

from poller.cli.commands.replay import replay_events
from poller.cli.session import Target
from poller.clock import wall_clock
from poller.store.store import Store
from tests.cli.stored_dead_letters import HOME, make_letters
from tests.cli.surroundings import Surroundings
from tests.store.scenes import Daemon, declare, op
from tests.store.template import new_store

NOW = datetime.now(UTC)
ENDS = [NOW - timedelta(hours=5), NOW - timedelta(hours=3)]
Said = Callable[[], tuple[dict[str, int], list[str]]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Give up two events for two sinks: the store, and the events' ids."""
    path = tmp_path_factory.mktemp("made") / "poller.db"
    return path, run(partial(make_letters, path, ends=ENDS, sinks=["app", "log"]))


def replay(*event_ids: str, json_output: bool = True, **chosen: Any) -> int:  # noqa: ANN401 - options
    """Run the command."""
    options: dict[str, Any] = dict.fromkeys(("sink", "operation", "since", "until"))
    options |= {"everything": False, "to": [], **chosen}
    return replay_events(Target(None), event_ids=event_ids, json_output=json_output, **options)


def due(path: Path, *sinks: str) -> dict[str, list[str]]:
    """Deliver what is due now, as the next daemon would; the event ids by sink."""

    async def deliver() -> dict[str, list[str]]:
        store = await Store.open(new_store(path), HOME, now=wall_clock)
        try:
            daemon = Daemon(store, wall_clock, "next")  # type: ignore[arg-type]  # a clock is called
            return {sink: [one.id for one in await daemon.deliveries(sink)] for sink in sinks}
        finally:
            await store.aclose()

    return run(deliver)


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """Return `said()`: what the command printed as JSON, and its warnings."""

    def read() -> tuple[dict[str, int], list[str]]:
        out, err = capsys.readouterr()
        return json.loads(out)["replayed"], err.splitlines()

    return read


def test_one_event_goes_to_every_sink_that_had_it(
    event_ids: list[str], here: Surroundings, said: Said
) -> None:
    """An event by its id is due for all its sinks, and for nobody else's events."""
    assert replay(event_ids[0]) == 0
    assert said()[0] == {"app": 1, "log": 1}
    found = due(here.directory / "poller.db", "app", "log")
    assert found == {"app": [event_ids[0]], "log": [event_ids[0]]}


@pytest.mark.parametrize("chosen", [{"to": ["log"]}, {"sink": "log"}], ids=str)
def test_to_narrows_the_sinks(
    event_ids: list[str], here: Surroundings, said: Said, chosen: dict[str, Any]
) -> None:
    """`--to` or `--sink` sends to that sink alone; an id that is given twice counts once."""
    assert replay(*event_ids, event_ids[0], **chosen) == 0
    assert said()[0] == {"log": 2}
    found = due(here.directory / "poller.db", "app", "log")
    assert found == {"app": [], "log": event_ids}


@pytest.mark.parametrize(
    ("chosen", "replayed"),
    [
        pytest.param({"everything": True}, {"app": 2, "log": 2}, id="all"),
        pytest.param({"sink": "app"}, {"app": 2}, id="sink"),
        pytest.param({"operation": op(2)}, {"app": 1, "log": 1}, id="operation"),
        pytest.param({"sink": "log", "since": "4h"}, {"log": 1}, id="since"),
        pytest.param({"until": "4h"}, {"app": 1, "log": 1}, id="until"),
    ],
)
def test_dead_letters_are_chosen(
    event_ids: list[str],
    here: Surroundings,
    said: Said,
    chosen: dict[str, Any],
    replayed: dict[str, int],
) -> None:
    """A choice of dead letters is due again, each once; a second time nothing is left of it."""
    del event_ids, here
    assert replay(**chosen) == 0
    assert said()[0] == replayed
    assert replay(**chosen) == 0
    assert said() == ({}, ["poller: no dead letter matches, nothing was replayed"])


def test_lines_for_people(event_ids: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Each sink has a line; without a daemon it is said that one must run."""
    del event_ids
    assert replay(everything=True, json_output=False) == 0
    out, err = capsys.readouterr()
    assert out == "app: 2 events replayed\nlog: 2 events replayed\n"
    assert err == "poller: no daemon is running; they are sent once `poller run` is started\n"


def test_beside_a_daemon_nothing_is_added(
    event_ids: list[str], here: Surroundings, said: Said
) -> None:
    """Where a daemon has the store there is nothing to warn of."""
    del event_ids
    with here.directory.joinpath("poller.db.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert replay(everything=True) == 0
    assert said() == ({"app": 2, "log": 2}, [])


def test_an_unknown_event_among_known_ones(event_ids: list[str], said: Said) -> None:
    """It is named and the exit code is 1; the others are replayed all the same."""
    assert replay("nope", event_ids[0]) == 1
    replayed, warnings = said()
    assert replayed == {"app": 1, "log": 1}
    assert "no event 'nope' is kept" in warnings[0]


@pytest.mark.parametrize(
    ("numbers", "chosen"),
    [([0], {"to": ["app", "nope"]}), ([], {"sink": "nope"})],
    ids=["to", "sink"],
)
def test_a_sink_that_was_never_there(
    event_ids: list[str],
    capsys: pytest.CaptureFixture[str],
    numbers: list[int],
    chosen: dict[str, Any],
) -> None:
    """A sink that nothing would ever reach is refused, and nothing is replayed."""
    with pytest.raises(typer.Exit) as ended:
        replay(*(event_ids[number] for number in numbers), **chosen)
    assert ended.value.exit_code == 1
    (option,) = chosen
    expected = f"poller: --{option}: the store knows no sink 'nope'; it knows: app, log\n"
    assert capsys.readouterr().err == expected


def test_a_sink_that_is_no_longer_there(
    event_ids: list[str], here: Surroundings, said: Said, capsys: pytest.CaptureFixture[str]
) -> None:
    """By name it is refused with what to do; among others it is replayed with a warning."""
    del event_ids

    async def leave() -> None:
        store = await Store.open("sqlite:///poller.db", HOME, now=wall_clock)
        await store.configure_sinks(declare("app"))
        await store.aclose()

    run(leave)
    with pytest.raises(typer.Exit):
        replay(sink="log")
    assert "add [sinks.log] again" in capsys.readouterr().err
    assert replay(everything=True) == 0
    replayed, warnings = said()
    assert replayed == {"app": 2, "log": 2}
    assert warnings[0].startswith("poller: the sink 'log' is not configured")
    assert here.files() == ["poller.db", "poller.db.lock"]


@pytest.mark.parametrize(
    ("ids", "chosen", "words"),
    [
        pytest.param([], {}, "nothing is selected; give event ids", id="nothing"),
        pytest.param(["x"], {"since": "1h"}, "not several of them", id="ids-and-since"),
        pytest.param(["x"], {"everything": True}, "not several of them", id="ids-and-all"),
        pytest.param([], {"everything": True, "since": "1h"}, "not several", id="all-and-since"),
        pytest.param([], {"sink": "a", "to": ["b"]}, "requires event ids", id="to-without-ids"),
        pytest.param([], {"to": ["b"]}, "requires event ids", id="to-alone"),
    ],
)
def test_a_choice_must_be_one(
    here: Surroundings, ids: list[str], chosen: dict[str, Any], words: str
) -> None:
    """Nothing, or two things at once, is a mistake of usage, before the store is opened."""
    with pytest.raises(typer.BadParameter) as refused:
        replay(*ids, **chosen)
    assert words in refused.value.message
    assert here.files() == []
