"""A flood of hints against the real daemon: what is asked of the API, polled, kept and believed."""

import json
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from tests.acceptance.flooding import HINTED, parts
from tests.benchmarks.process import cost_of
from tests.fakes.api import FakeApi, operation, operation_id
from tests.fakes.process import Poller, eventually
from tests.fakes.pushes import PASSWORD, USER, batch

# five thousand pushes take seconds, however fast they come
pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
RATE = 5
METRIC = "comms_poller_hint_pushes_total"
QUIET = operation_id(99)
SETTINGS = {
    "POLLER_API__REQUESTS_PER_SECOND": str(RATE),
    "POLLER_POLLING__MIN_INTERVAL": "1s",
    "POLLER_POLLING__MAX_INTERVAL": "2s",
    "POLLER_POLLING__PROGRESS_INTERVAL": "0s",
    "POLLER_POLLING__SWEEP": "off",
    "POLLER_SERVER__HINTS": "127.0.0.1:0",
    "POLLER_SERVER__HINTS_USER": USER,
    "POLLER_SERVER__HINTS_PASSWORD": PASSWORD,
}


def flood(port: str) -> dict[str, dict[str, int]]:
    """Push five thousand times; returns the numbers of answers by part and status."""
    program = [sys.executable, "-m", "tests.acceptance.flooding", port, "5000"]
    run = subprocess.run(program, cwd=ROOT, check=True, stdout=subprocess.PIPE, timeout=120)
    found: dict[str, dict[str, int]] = json.loads(run.stdout)
    return found


def test_a_flood_of_hints_is_bounded(tmp_path: Path) -> None:
    """The budget of the account holds, what nobody hinted at is polled, and nothing is believed."""
    with FakeApi() as api:
        for one in (*HINTED, QUIET):
            api.script(one, [operation(one, "PROCESSING", total=9, queued=9)])
        environment = {**api.environment, **SETTINGS}
        with Poller("run", *HINTED, QUIET, cwd=tmp_path, environment=environment) as daemon:
            eventually(lambda: len({event["subject"] for event in daemon.events}) == 21)
            [listening] = daemon.logged("server.listening")
            before, begun, asked = cost_of(daemon.process.pid), time.monotonic(), len(api.times)
            answers = flood(listening["hints"].rpartition(":")[2])
            took, after = time.monotonic() - begun, cost_of(daemon.process.pid)
            times, paths = api.times[asked:], api.requests[asked:]
            metrics = httpx.get(f"{listening['address']}/metrics", trust_env=False).text
            # the listener and the poll loop have outlived it
            ended = HINTED[3]
            api.script(ended, [operation(ended, "COMPLETED", updated=9, total=9, delivered=9)])
            httpx.post(
                f"{listening['hints']}/v1/hints",
                content=batch(ended, number="last"),
                auth=(USER, PASSWORD),
                trust_env=False,
            ).raise_for_status()
            eventually(lambda: any(event["data"]["final"] for event in daemon.events))
            assert daemon.stop() == 0
    for part in parts():
        assert set(answers[part.name]) <= {str(one) for one in part.answers}, part.name
    # a client that is refused at once does not crowd out what is genuine
    assert answers["genuine"]["204"] > answers["genuine"].get("503", 0)
    counted = dict(line.rsplit(" ", 1) for line in metrics.splitlines())
    assert float(counted[f'{METRIC}{{outcome="forged"}}']) == answers["forged"]["403"]
    # the API has counted what it was asked, and for which operations
    assert len(times) <= RATE * (took + 1)
    assert set(paths) <= {f"/v1/Messages/Operations/{one}" for one in (*HINTED, QUIET)}
    quiet = [at for at, path in zip(times, paths, strict=True) if path.endswith(QUIET)]
    # due every two seconds, and then behind each of those that are hinted at once
    gaps = [later - earlier for earlier, later in pairwise([begun, *quiet, begun + took])]
    assert max(gaps) < 2 + len(HINTED) / RATE + 5
    assert after.rss - before.rss < 48
    finals = [event["subject"] for event in daemon.events if event["data"]["final"]]
    assert finals == [ended]
    assert {event["subject"] for event in daemon.events} == {*HINTED, QUIET}
