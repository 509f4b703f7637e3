"""SIGKILL at random moments over the real process: nothing is lost, torn, reordered or miscounted.

`KILL_SEED` tells the whole story again: the operations, the moments, the failures of the webhook
(not the scheduling of the machine). `KILLS` sets the number of kills of the long run.
"""

import base64
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.fakes.process import poller
from tests.fakes.receiver import Answer, Received, Receiver
from tests.kill.campaigns import Campaigns
from tests.kill.lives import Life, life
from tests.oracle import Judgement, judge

pytestmark = pytest.mark.acceptance

SEED = int(os.environ.get("KILL_SEED", "0")) or Random().randrange(1, 1_000_000)  # noqa: S311 - printed
KILLS = int(os.environ.get("KILLS", "100"))
OPERATIONS = 60
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
ACKNOWLEDGED = {"operation.registered", "operation.known"}
Event = dict[str, Any]


@pytest.mark.parametrize(
    ("kills", "steps", "heals"),
    [
        # a third of a third of a third … waits for half a minute: the short run does without
        pytest.param(12, 4, True, id="short", marks=pytest.mark.slow),
        pytest.param(KILLS, 12, False, id="long", marks=pytest.mark.soak),
    ],
)
def test_no_kill_loses_or_repeats_what_it_must_not(
    kills: int,
    steps: int,
    heals: bool,  # noqa: FBT001 - a parameter of the test
    tmp_path: Path,
) -> None:
    """Whatever is killed, whenever: each end once, no gap, no reordering, exact deltas."""
    began = time.monotonic()
    chance = Random(SEED)  # noqa: S311 - repeatable with the seed
    fickle = Fickle(Random(chance.random()))  # noqa: S311 - as above
    with (
        Campaigns(seed=SEED, number=OPERATIONS, phases=kills, steps=steps) as api,
        Receiver(secret=SECRET, default=fickle) as receiver,
    ):
        variables = environment(api, receiver.url)
        missing = set(api.campaigns)
        for number in range(kills):
            api.phase = number
            missing -= _one_life(chance, number, sorted(missing), tmp_path, variables)
        api.phase = kills
        if heals:
            receiver.answer_always(Answer())
        done = poller(
            "run", "--until-idle", "--timeout", "5m", *sorted(missing),
            cwd=tmp_path, environment=variables, timeout=330,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        posted = [request for request in receiver.received if is_whole(request)]
    printed = [*_lines(tmp_path / "stdout.ndjson"), *map(json.loads, done.stdout.splitlines())]
    arrived = {
        "stdout": printed,
        "file": _lines(tmp_path / "events.ndjson"),
        "webhook, accepted": [request.event for request in posted if request.accepted],
        "webhook, all": [request.event for request in posted],
    }
    ends = {name: campaign.end for name, campaign in api.campaigns.items()}
    judged = {sink: judge(events, ends=ends) for sink, events in arrived.items()}
    _say(f"\nKILL_SEED={SEED}: {kills} kills in {time.monotonic() - began:.0f} s")
    for sink, found in judged.items():
        _say(f"{sink}: {len(found.events)} events, {found.duplicates} duplicates")
    assert {sink: found.problems for sink, found in judged.items() if found.problems} == {}
    assert judged["file"].duplicates == 0
    assert {request.signature for request in posted} == {"good"}
    _check_agreement(judged.values())
    _check_store(tmp_path / "poller.db")
    _check_logs(tmp_path)
    _check_with_verify(tmp_path, arrived)


class Fickle:
    """A receiver's answers: a third fail, by a status, a reset, or by coming too late."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance

    def __call__(self, _number: int) -> Answer:
        """Choose the next answer."""
        if self._chance.random() >= 1 / 3:
            return Answer()
        return self._chance.choice(
            [Answer(status=500), Answer(status=503), Answer(reset=True), Answer(delay=1.5)]
        )


def _one_life(
    chance: Random, number: int, missing: Sequence[str], cwd: Path, variables: dict[str, str]
) -> set[str]:
    """Start a daemon, give it operations, and kill it; those that it acknowledged."""
    fed = chance.sample(missing, min(len(missing), OPERATIONS // 3))
    # some of them are there already: a repeated registration changes nothing
    by_argument, by_line = fed[::2], fed[1::2]
    with life(
        "run", "--stdin", *by_argument, cwd=cwd, environment=variables, number=number
    ) as daemon:
        in_start = chance.random() < 0.2
        pause = chance.uniform(0, 0.9)
        if in_start:
            time.sleep(pause)  # not for synchronisation: the moment of the kill
        else:
            daemon.await_log("daemon.started")
            daemon.say(by_line)
            time.sleep(pause)  # as above
        daemon.kill()
        return _acknowledged(daemon)


def _acknowledged(daemon: Life) -> set[str]:
    return {line["operation"] for line in daemon.logs() if line["event"] in ACKNOWLEDGED}


def environment(api: Campaigns, hook: str) -> dict[str, str]:
    """Point a fast poller at the API, with a sink of each type; the webhook is at `hook`."""
    sinks = {
        "out": {"type": "stdout"},
        "log": {"type": "file", "path": "events.ndjson"},
        "app": {"type": "webhook", "url": hook, "secret": SECRET, "timeout": "1s"},
    }
    return {
        **api.environment,
        "POLLER_API__REQUESTS_PER_SECOND": "400",
        "POLLER_API__MAX_CONCURRENCY": "8",
        "POLLER_POLLING__MIN_INTERVAL": "50ms",
        "POLLER_POLLING__MAX_INTERVAL": "500ms",
        "POLLER_POLLING__PROGRESS_INTERVAL": "0s",
        "POLLER_SINKS": json.dumps(sinks),
    }


def _check_agreement(judged: Iterable[Judgement]) -> None:
    first, *others = [found.events for found in judged]
    assert all(events == first for events in others)


def _check_store(path: Path) -> None:
    """Look whether the database is sound, and nothing waits in it."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        states = connection.execute("SELECT DISTINCT state FROM deliveries").fetchall()
        assert states == [("delivered",)]
        held = "SELECT count(*) FROM {} WHERE lease_owner IS NOT NULL"
        for table in ("watches", "deliveries"):
            assert connection.execute(held.format(table)).fetchall() == [(0,)]


def _check_logs(cwd: Path) -> None:
    for log in cwd.glob("log.*"):
        assert "Traceback" not in log.read_text(), log.read_text()


def _check_with_verify(cwd: Path, arrived: dict[str, list[Event]]) -> None:
    """Our own auditor agrees."""
    for sink, events in arrived.items():
        path = cwd / f"{sink.partition(',')[0]}.verify"
        path.write_text("".join(json.dumps(event) + "\n" for event in events))
        done = poller("verify", "--ended", str(path), cwd=cwd)
        assert done.returncode == 0, f"{sink}: {done.stdout}{done.stderr}"


def is_whole(request: Received) -> bool:
    """Say whether its sender lived until the last byte."""
    return len(request.body) == int(request.headers["content-length"])


def _lines(path: Path) -> list[Event]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _say(line: str) -> None:
    print(line)  # noqa: T201 - the report is the output
