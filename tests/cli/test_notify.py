"""What the service manager receives: from the parts in process, and from the real `poller run`."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

import pytest

from poller.cli.notify import Notifier, message, sentence
from poller.engine.status import Degraded
from poller.engine.supervision import Heartbeats
from poller.store.reports import Summary
from tests.fakes.api import FakeApi, operation, operation_id
from tests.fakes.process import Poller, eventually

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class Manager:
    """A service manager: keeps every datagram that comes to its socket. A context manager."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.said: list[dict[str, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._socket.getsockname())
        self._reader.join()
        self._socket.close()

    def received(self, *names: str) -> list[str]:
        """Name in order what was said of these variables."""
        return [name for fields in list(self.said) for name in fields if name in names]

    def statuses(self) -> list[str]:
        """Return the sentences so far."""
        return [fields["STATUS"] for fields in list(self.said) if "STATUS" in fields]

    def _read(self) -> None:
        while datagram := self._socket.recv(4096):
            lines = datagram.decode().splitlines()
            self.said.append(dict(line.split("=", 1) for line in lines))


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


class Desk:
    """A notifier with a watchdog of 60 seconds, the beats that it follows, and what it said."""

    def __init__(self, *loops: str) -> None:
        self.clock = Clock()
        self.said: list[str] = []
        self.beats = Heartbeats(loops, clock=self.clock)
        self.notifier = Notifier(self._send, watchdog=60.0, clock=self.clock)
        self.notifier.follow(self.beats)

    @property
    def fed(self) -> int:
        """Count how often the watchdog was fed."""
        return self.said.count("WATCHDOG=1\n")

    def turn(self, *loops: str, seconds: int) -> None:
        """Let these loops beat every second."""
        for _ in range(seconds):
            self.clock.now += 1
            for loop in loops:
                self.beats.beat(loop)

    def _send(self, text: str) -> bool:
        self.said.append(text)
        return True


@pytest.fixture
def api() -> Iterator[FakeApi]:
    """Give a scripted API."""
    with FakeApi() as server:
        yield server


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """Give a service manager whose socket is a path."""
    with Manager(str(tmp_path / "notify")) as listening:
        yield listening


def test_a_message_is_one_line_a_variable() -> None:
    """A value cannot smuggle in a variable of its own."""
    assert message(READY=1, STATUS="a\nWATCHDOG=1") == "READY=1\nSTATUS=a WATCHDOG=1\n"


def test_the_sentence_names_what_waits_and_what_is_in_trouble() -> None:
    """An operator reads the state at a glance; what is long past carries its date."""
    standing = Summary(watched=12, waiting=1, stuck=0, lost=1, dead=2, held_back=0)
    trouble = [
        Degraded(what="sink app", since=NOW - timedelta(hours=2), hint="…"),
        Degraded(what="credentials", since=NOW - timedelta(days=2), hint="…"),
    ]
    assert sentence(standing, trouble, now=NOW) == (
        "watching 12 operations, 1 delivery waiting, 2 dead letters, 1 operation lost, "
        "trouble with sink app since 10:00 UTC, "
        "trouble with credentials since 2026-11-20 12:00 UTC"
    )


def test_a_quiet_daemon_has_a_short_sentence() -> None:
    """Zeros and absent trouble are left out."""
    standing = Summary(watched=1, waiting=0, stuck=0, lost=0, dead=0, held_back=0)
    assert sentence(standing, [], now=NOW) == "watching 1 operation, 0 deliveries waiting"


def test_ready_waits_for_every_loop() -> None:
    """READY is said once, when the last of the expected loops has turned."""
    desk = Desk("poll", "housekeeping")
    desk.turn("poll", seconds=3)
    assert desk.said == []
    desk.turn("poll", "housekeeping", seconds=3)
    assert desk.said == ["READY=1\n", "WATCHDOG=1\n"]


def test_the_watchdog_is_fed_at_least_twice_in_its_time() -> None:
    """All loops turn: fed at a quarter of the time, however often they beat."""
    desk = Desk("poll", "sink app")
    desk.turn("poll", "sink app", seconds=600)
    assert 600 / 30 <= desk.fed <= 600 / 15 + 1


def test_the_watchdog_starves_when_one_loop_hangs() -> None:
    """The others beat on; soon nothing is fed any more, until the loop turns again."""
    desk = Desk("poll", "sink app")
    desk.turn("poll", "sink app", seconds=60)
    desk.turn("sink app", seconds=30)
    before = desk.fed
    desk.turn("sink app", seconds=600)
    assert desk.fed == before
    desk.turn("poll", "sink app", seconds=1)
    assert desk.fed == before + 1


def test_a_loop_that_never_began_starves_the_watchdog() -> None:
    """What was never heard of cannot be taken for well."""
    desk = Desk("poll", "housekeeping")
    desk.turn("poll", seconds=600)
    assert desk.fed == 0


def test_nobody_feeds_when_nothing_beats() -> None:
    """A blocked event loop feeds nothing: there is no timer and no thread."""
    desk = Desk("poll")
    desk.turn("poll", seconds=1)
    desk.clock.now += 3600
    assert desk.fed == 1


def test_a_loop_that_left_in_order_is_not_missed() -> None:
    """A sink that was removed does not starve the watchdog."""
    desk = Desk("poll", "sink app")
    desk.turn("poll", "sink app", seconds=1)
    desk.beats.leave("sink app")
    desk.turn("poll", seconds=60)
    assert desk.fed >= 2


def test_a_message_that_did_not_arrive_is_said_again() -> None:
    """READY must not be lost because the manager was busy."""
    clock, said = Clock(), list[str]()
    beats = Heartbeats(["poll"], clock=clock)

    def send(text: str) -> bool:
        said.append(text)
        return len(said) > 1

    Notifier(send, clock=clock).follow(beats)
    for _ in range(3):
        beats.beat("poll")
    assert said == ["READY=1\n", "READY=1\n"]


def test_a_reload_before_ready_or_after_stopping_is_not_reported() -> None:
    """A READY that ends such a reload would claim what is not so."""
    desk = Desk("poll")
    with desk.notifier.reloading():
        pass
    assert desk.said == []
    desk.turn("poll", seconds=1)
    desk.notifier.stopping()
    desk.notifier.stopping()
    with desk.notifier.reloading():
        pass
    assert [text.split("\n")[0] for text in desk.said] == ["READY=1", "WATCHDOG=1", "STOPPING=1"]


@pytest.mark.parametrize(
    ("variables", "fed"),
    [
        ({"WATCHDOG_USEC": "60000000"}, True),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, True),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, False),
        ({"WATCHDOG_USEC": "0"}, False),
        ({"WATCHDOG_USEC": "soon"}, False),
        ({}, False),
    ],
)
def test_the_watchdog_is_as_the_environment_says(
    manager: Manager, variables: dict[str, str], *, fed: bool
) -> None:
    """It is off where no time is given, or where the time is meant for another process."""
    beats = Heartbeats(["poll"], clock=Clock())
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": manager.address, **variables})
    notifier._clock = Clock()
    notifier.follow(beats)
    beats.beat("poll")
    notifier.stopping()
    eventually(lambda: "STOPPING" in manager.received("STOPPING"))
    assert ("WATCHDOG" in manager.received("WATCHDOG")) == fed


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1234"])
def test_without_a_socket_nothing_is_said(address: str) -> None:
    """Outside systemd, and with an address of another family, the notifier keeps still."""
    beats = Heartbeats(["poll"], clock=Clock())
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1"})
    notifier.follow(beats)
    beats.beat("poll")
    notifier.stopping()


def test_a_manager_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    """A socket that nobody reads is a warning in the log."""
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    notifier.stopping()


@pytest.mark.acceptance
@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_the_life_of_a_daemon(api: FakeApi, tmp_path: Path, kind: str) -> None:
    """Ready, fed, reloading, ready, stopping: in this order, with a sentence for people."""
    name = operation_id(1)
    api.script(name, [operation(name, "PROCESSING", total=10, queued=10)])
    address = str(tmp_path / "notify") if kind == "path" else f"@comms-poller-test-{os.getpid()}"
    with Manager(address) as manager:
        environment = {**api.environment, "NOTIFY_SOCKET": address, "WATCHDOG_USEC": "2000000"}
        with Poller("run", name, cwd=tmp_path, environment=environment) as daemon:
            eventually(lambda: manager.received("READY") == ["READY"])
            eventually(lambda: len(manager.received("WATCHDOG")) > 2)
            eventually(lambda: any(s.startswith("watching 1 op") for s in manager.statuses()))
            daemon.signal(signal.SIGHUP)
            eventually(lambda: len(manager.received("READY")) == 2)
            assert daemon.stop() == 0
    order = ["READY", "RELOADING", "READY", "STOPPING"]
    assert manager.received("READY", "RELOADING", "STOPPING") == order
    (reload,) = (fields for fields in manager.said if "RELOADING" in fields)
    assert int(reload["MONOTONIC_USEC"]) > 0


@pytest.mark.acceptance
def test_a_refused_reload_ends_in_ready(api: FakeApi, manager: Manager, tmp_path: Path) -> None:
    """Bad settings leave the daemon running, and the manager knows."""
    config = tmp_path / "poller.toml"
    config.write_text("")
    environment = {**api.environment, "NOTIFY_SOCKET": manager.address}
    with Poller("run", "--config", str(config), cwd=tmp_path, environment=environment) as daemon:
        eventually(lambda: manager.received("READY") == ["READY"])
        config.write_text("polling = 3")
        daemon.signal(signal.SIGHUP)
        eventually(lambda: manager.received("READY", "RELOADING")[1:] == ["RELOADING", "READY"])
        eventually(lambda: bool(daemon.logged("daemon.reload_refused")))
        assert daemon.stop() == 0


@pytest.mark.acceptance
def test_a_daemon_that_ends_by_itself_says_so(
    api: FakeApi, manager: Manager, tmp_path: Path
) -> None:
    """Idle is an end like any other."""
    name = operation_id(1)
    api.script(name, [operation(name, "COMPLETED", total=1, delivered=1)])
    environment = {**api.environment, "NOTIFY_SOCKET": manager.address}
    with Poller("run", "--until-idle", name, cwd=tmp_path, environment=environment) as daemon:
        assert daemon.wait() == 0
    eventually(lambda: manager.received("READY", "STOPPING") == ["READY", "STOPPING"])
