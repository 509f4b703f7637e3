"""A database server in trouble under two daemons that share it, and a file that is taken away."""

import http.client
import json
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cluster.fleet import Fleet, Member
from tests.fakes.api import operation_id
from tests.fakes.event_files import read_events
from tests.fakes.line import Line
from tests.fakes.process import Poller, eventually
from tests.faults.conftest import Witness
from tests.faults.stage import ODD, WELL, campaign
from tests.faults.wild import WildApi
from tests.oracle import check_promises, judge
from tests.store.cluster import COMMITTING, Cluster, running

pytestmark = pytest.mark.acceptance

# seconds from the end of the trouble until it works again
_RECOVERY: Final = 10.0
# seconds in which a probe is answered
_PROBE: Final = 1.0
# what was being recorded is asked about again when its lease is over
_LEASE: Final = 60.0
_GRACE: Final = 1.0
_FIRST: Final = 20


class Pair:
    """Two daemons, and a client that goes on registering operations at both in turns."""

    def __init__(self, fleet: Fleet, api: WildApi) -> None:
        self._fleet = fleet
        self._api = api
        self.daemons = self._start()
        self._stopped: list[Member] = []
        self.acknowledged: list[str] = []
        self.refused = 0
        self._over = threading.Event()
        self._next = 0

    def _start(self) -> list[Member]:
        return self._fleet.start(
            2,
            api__requests_per_second="100",
            api__max_concurrency="16",
            polling__sweep="off",
            engine__shutdown_grace=f"{_GRACE:g}s",
        )

    def stop(self, witness: Witness) -> None:
        """Stop one after the other, each within the time that a stop may take."""
        for daemon in self.daemons:
            begun = time.monotonic()
            assert daemon.process.stop() == 0
            assert time.monotonic() - begun < _GRACE + 2
            witness.hear(daemon.process)

    def restart(self) -> None:
        """Start two daemons on the same database, after these have ended."""
        self._stopped += self.daemons
        self.daemons = self._start()

    @contextmanager
    def registering(self) -> Iterator[None]:
        """Register one operation after the other until the end of the block."""
        client = threading.Thread(target=self._register_all)
        client.start()
        try:
            yield
        finally:
            self._over.set()
            client.join()

    def _register_all(self) -> None:
        while not self._over.wait(0.1):
            self.register(self.daemons[self._next % 2])

    def register(self, daemon: Member) -> None:
        """Register a new operation at a daemon; what is acknowledged must not be lost."""
        name = operation_id(self._next)
        self._next += 1
        self._api.script(name, campaign(name))
        connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=30)
        try:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", "/v1/operations", json.dumps({"id": name}), headers)
            if connection.getresponse().status < 300:
                self.acknowledged.append(name)
            else:
                self.refused += 1
        except OSError:
            self.refused += 1
        finally:
            connection.close()

    def are_ready(self) -> bool:
        """Whether both could acknowledge a registration."""
        return all(one.ask("GET", "/readyz")["status"] != "unready" for one in self.daemons)

    @property
    def events(self) -> Sequence[Any]:
        """What all have printed: an event is printed by one of them, unless that was cut."""
        daemons = [*self._stopped, *self.daemons]
        printed = [event for one in daemons for event in one.process.events]
        return sorted(printed, key=lambda event: (event["subject"], event["sequence"]))

    @property
    def ended(self) -> set[str]:
        """The operations whose end was printed."""
        return {event["subject"] for event in self.events if event["data"]["final"]}


def survive(pair: Pair, witness: Witness, trouble: Callable[[], None]) -> None:
    """Let it come, and see that both work again soon, have lost nothing and stop in time."""
    with pair.registering():
        eventually(lambda: len(pair.acknowledged) >= _FIRST)
        trouble()
        ended, before = time.monotonic(), len(pair.acknowledged)
        eventually(pair.are_ready, timeout=_RECOVERY)
        eventually(lambda: len(pair.acknowledged) > before + 4, timeout=_RECOVERY)
        assert time.monotonic() - ended < _RECOVERY
    finish(pair, witness)


def finish(pair: Pair, witness: Witness) -> None:
    """See that what was acknowledged ends with a complete history, and stop both."""
    wanted = set(pair.acknowledged)
    eventually(lambda: wanted <= pair.ended, timeout=2 * _LEASE)
    pair.stop(witness)
    assert not judge([one for one in pair.events if one["subject"] in wanted]).problems


def probe(pair: Pair, seconds: float) -> None:
    """Probe both during a trouble: they answer in time, and in the end that they are unready."""
    begun = time.monotonic()
    while time.monotonic() - begun < seconds:
        for daemon in pair.daemons:
            asked = time.monotonic()
            daemon.ask("GET", "/readyz")
            assert time.monotonic() - asked < _PROBE
        time.sleep(1)
    assert not pair.are_ready()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Return what ends the daemons."""
    with ExitStack() as stack:
        yield stack


@contextmanager
def server() -> Iterator[Cluster]:
    """Run a server of its own that keeps each commit."""
    with running(settings=COMMITTING) as found:
        yield found


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_the_database_restarts(
    api: WildApi, tmp_path: Path, stack: ExitStack, witness: Witness
) -> None:
    """Connections end, some of them at a commit: what was acknowledged is there afterwards."""
    with server() as own, stack:
        pair = Pair(Fleet(own.url(own.create()), api, tmp_path, stack), api)
        survive(pair, witness, lambda: own.control("restart", "-m", "fast"))


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_the_database_stands_still_for_a_minute(
    api: WildApi, tmp_path: Path, stack: ExitStack, witness: Witness
) -> None:
    """It accepts connections and answers nothing: both daemons say that they are unready."""

    def freeze() -> None:
        with own.frozen():
            probe(pair, 60)

    with server() as own, stack:
        pair = Pair(Fleet(own.url(own.create()), api, tmp_path, stack), api)
        survive(pair, witness, freeze)
        assert pair.refused > 0


@pytest.mark.slow
def test_the_line_to_the_database_is_silent(
    api: WildApi, tmp_path: Path, stack: ExitStack, witness: Witness, cluster: Cluster
) -> None:
    """A black hole of 45 s: nothing reports that the connections are dead, old and new ones."""

    def fall_silent() -> None:
        line.silence(everything=True)
        probe(pair, 45)
        line.restore()

    name = cluster.create()
    with Line(cluster.socket / ".s.PGSQL.5432") as line, stack:
        url = f"postgresql://poller@127.0.0.1:{line.port}/{name}"
        pair = Pair(Fleet(url, api, tmp_path, stack), api)
        survive(pair, witness, fall_silent)
        assert pair.refused > 0


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_stop_while_the_database_stands_still(
    api: WildApi, tmp_path: Path, stack: ExitStack, witness: Witness
) -> None:
    """SIGTERM is obeyed in time, and the next daemons end all that was acknowledged."""
    with server() as own, stack:
        pair = Pair(Fleet(own.url(own.create()), api, tmp_path, stack), api)
        with pair.registering():
            eventually(lambda: len(pair.acknowledged) >= _FIRST)
            # the first has calls under way; those of the second have waited for seconds
            with own.frozen():
                pair.stop(witness)
                assert not pair.ended.issuperset(pair.acknowledged)
        pair.restart()
        finish(pair, witness)


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_standby_takes_over(
    api: WildApi, tmp_path: Path, stack: ExitStack, witness: Witness
) -> None:
    """The primary is gone; the URL names both, and the daemons find the one that takes writes."""

    def fail_over() -> None:
        primary.control("stop", "-m", "immediate")
        time.sleep(2)
        standby.control("promote")

    with server() as primary:
        name = primary.create()
        with primary.standby(settings=COMMITTING) as standby, stack:
            url = f"postgresql://poller@/{name}?host={primary.socket},{standby.socket}"
            pair = Pair(Fleet(url, api, tmp_path, stack), api)
            survive(pair, witness, fail_over)


@pytest.mark.slow
def test_a_daemon_is_killed_beside_another(
    api: WildApi, tmp_path: Path, stack: ExitStack, witness: Witness, cluster: Cluster
) -> None:
    """The other one ends what it watched, and its own sink has all of that when it is back."""

    def start(name: str) -> Member:
        sinks = {name: {"type": "file", "path": str(tmp_path / f"{name}.ndjson")}}
        [daemon] = fleet.start(api__requests_per_second="50", sinks=json.dumps(sinks))
        return daemon

    def ended(name: str) -> set[str]:
        found = read_events(tmp_path / f"{name}.ndjson")
        return {event["subject"] for event in found if event["data"]["final"]}

    fleet = Fleet(cluster.url(cluster.create()), api, tmp_path, stack)
    first, other = start("app"), start("other")
    ids = [api.script(operation_id(number), campaign(operation_id(number))) for number in range(40)]
    first.register(ids)
    eventually(lambda: len(api.requests) > len(ids))
    first.process.kill()
    # the other one may end all of it before it learns that this one has left
    eventually(lambda: bool(other.process.logged("daemon.left")), timeout=_RECOVERY)
    eventually(lambda: ended("other") == set(ids), timeout=_LEASE)
    again = start("app")
    eventually(lambda: ended("app") == set(ids), timeout=_LEASE)
    for daemon in (again, other):
        assert daemon.process.stop() == 0
    for daemon in (first, again, other):
        witness.hear(daemon.process)
    for name in ("app", "other"):
        check_promises(read_events(tmp_path / f"{name}.ndjson"))


@pytest.mark.slow
def test_a_daemon_is_frozen_beside_another(
    api: WildApi, tmp_path: Path, stack: ExitStack, witness: Witness, cluster: Cluster
) -> None:
    """It holds up nobody, and goes on when it is thawed."""
    pair = Pair(Fleet(cluster.url(cluster.create()), api, tmp_path, stack), api)
    frozen, other = pair.daemons

    def joined() -> int:
        return len(other.process.logged("daemon.joined"))

    def freeze() -> None:
        frozen.process.signal(signal.SIGSTOP)
        try:
            eventually(lambda: bool(other.process.logged("daemon.left")), timeout=_RECOVERY)
            before = joined()
            for _ in range(5):
                begun = time.monotonic()
                pair.register(other)
                assert time.monotonic() - begun < _RECOVERY
        finally:
            frozen.process.signal(signal.SIGCONT)
        eventually(lambda: joined() > before, timeout=_RECOVERY)

    survive(pair, witness, freeze)


def test_the_file_of_the_store_is_taken_away(
    api: WildApi, tmp_path: Path, witness: Witness
) -> None:
    """Nothing is acknowledged that would be gone with the process; put back, all goes on."""
    path, kept = tmp_path / "poller.db", tmp_path / "kept.db"
    for name in (ODD, WELL):
        api.script(name, campaign(name)[:1])
    environment = {
        **api.environment,
        "POLLER_POLLING__MIN_INTERVAL": "100ms",
        "POLLER_POLLING__MAX_INTERVAL": "200ms",
    }
    with Poller("run", ODD, cwd=tmp_path, environment=environment) as process:
        eventually(lambda: bool(process.logged("server.listening")) and bool(process.events))
        address = str(process.logged("server.listening")[0]["address"])
        daemon = Member(process, int(address.rpartition(":")[2].rstrip("/")))
        shutil.move(path, kept)
        eventually(lambda: daemon.ask("GET", "/readyz")["status"] == "unready")
        refused = daemon.ask("POST", "/v1/operations", {"operations": [{"id": WELL}]})
        assert refused["status"] == 503
        assert "the file was deleted" in refused["detail"]
        eventually(lambda: bool(process.logged("store.unavailable")))
        shutil.move(kept, path)
        eventually(lambda: daemon.ask("GET", "/readyz")["status"] != "unready")
        daemon.register([WELL])
        for name in (ODD, WELL):
            api.script(name, campaign(name)[1:])
        eventually(lambda: sum(one["data"]["final"] for one in process.events) == 2, timeout=_LEASE)
        assert process.stop() == 0
        check_promises(process.events)
    witness.hear(process)
