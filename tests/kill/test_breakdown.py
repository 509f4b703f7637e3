"""SIGKILL in the middle of a breakdown: it goes on at the page where it was, and is exact."""

import json
from collections import Counter
from pathlib import Path

import pytest

from poller.comms.kinds import KINDS
from tests.acceptance.breakdowns import check_breakdown, verify
from tests.benchmarks.simulated import Simulated
from tests.fakes.process import Poller, eventually, poller
from tests.fakes.proxy import ApiProxy
from tests.oracle import check_promises

pytestmark = pytest.mark.acceptance

# small pages, so that there is a middle: 7 of errors, and some of messages of each status
PAGE = 100
FAST = {
    "POLLER_API__REQUESTS_PER_SECOND": "200",
    "POLLER_POLLING__MIN_INTERVAL": "100ms",
    "POLLER_POLLING__MAX_INTERVAL": "500ms",
    "POLLER_POLLING__SETTLE": "8s",
    "POLLER_POLLING__BREAKDOWN": "true",
}


def is_detail(path: str) -> bool:
    """Tell whether a request belongs to the breakdown."""
    plain = path.partition("?")[0]
    return "/Operations" not in plain or plain.endswith("/Errors")


@pytest.mark.parametrize(
    "kills",
    [
        (2, 3),
        *(pytest.param(kills, marks=pytest.mark.slow) for kills in [(1,), (5, 9), (8, 7)]),
    ],
    ids=str,
)
def test_a_breakdown_goes_on_where_it_was_killed(kills: tuple[int, ...], tmp_path: Path) -> None:
    """Killed while one page was being read: that page alone is asked for again; nothing is lost."""
    with (
        Simulated("--speed", "400", cwd=tmp_path) as simulator,
        ApiProxy(simulator.base_url) as api,
    ):
        [name] = simulator.send(1, recipients=10_000, fate="failing")
        api.rewrite = lambda path: path.replace("pageSize=1000", f"pageSize={PAGE}")
        variables = {**simulator.environment, **api.environment, **FAST}
        out = ""
        for kill in kills:
            api.hold_from(is_detail, number=kill)
            with Poller("run", name, cwd=tmp_path, environment=variables) as daemon:
                eventually(lambda: api.holding.is_set() or daemon.process.poll() is not None)
                assert api.holding.is_set(), "".join(daemon.err)[-3000:]
                daemon.kill()
                out += "".join(daemon.out)
            api.let_go()
        done = poller(
            "run", "--until-idle", "--timeout", "25s", cwd=tmp_path, environment=variables
        )
        assert done.returncode == 0, done.stderr[-3000:]
        out += done.stdout
        truth = simulator.control("GET", f"operations/{name}/truth")
        details = [path for path in api.requests if is_detail(path)]
    events = {event["id"]: event for event in map(json.loads, out.splitlines())}
    check_breakdown(list(events.values()), truth, KINDS["messages"])
    check_promises(list(events.values()))
    verify(out, cwd=tmp_path)
    repeated = {path: times for path, times in Counter(details).items() if times > 1}
    assert sum(repeated.values()) - len(repeated) == len(kills)
    undisturbed = list(dict.fromkeys(details))
    for number, kill in enumerate(kills):
        # the n-th request of a life is the one it was killed in: the next life begins with it
        at = sum(kills[: number + 1]) - 1
        assert details[at] == details[at + 1]
        assert kill <= len(undisturbed)
