"""Groups and alerts over the real process: seals at any moment, and SIGKILL.

`KILL_SEED` repeats the story: the operations, the groups, the moments, the failures of the webhook.
"""

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest

from poller.store.store import Store
from poller.tracking.pacing import Policy
from poller.tracking.watch import AccountScope
from tests.fakes.api import ACCOUNT
from tests.fakes.event_files import read_events
from tests.fakes.process import eventually, poller
from tests.fakes.receiver import Answer, Receiver
from tests.kill.group_story import KILLS, GroupStory, accepted, audit, connect_to, post
from tests.kill.lives import life
from tests.kill.test_sigkill import SECRET, Fickle, environment

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

SEED = int(os.environ.get("KILL_SEED", "0")) or Random().randrange(1, 1_000_000)  # noqa: S311 - printed
# on memory where there is such a place: a crash here is one of the process, not of the disk
FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a private directory in it
Event = dict[str, Any]


def test_a_group_ends_once_and_an_alert_fires_once_whatever_is_killed() -> None:
    """In each sink: exact sums, alerts at the answer that crosses, also where they are replayed."""
    with tempfile.TemporaryDirectory(prefix="poller-", dir=FAST) as directory:
        _kill_and_judge(Path(directory))


def _kill_and_judge(directory: Path) -> None:
    story = GroupStory(SEED)
    chance, address = story.chance, directory / "address"
    fickle = Fickle(Random(chance.random()))  # noqa: S311 - as above
    with story.api as api, Receiver(secret=SECRET, default=fickle) as receiver:
        variables = {
            **environment(api, receiver.url),
            **{f"POLLER_{name.upper()}": value for name, value in story.settings.items()},
            "POLLER_SERVER__LISTEN": f"unix:{address}",
        }
        sealer = Sealer(directory, api.base_url)
        with story.clients(lambda _: connect_to(address)) as clients:
            for number in range(KILLS):
                api.phase, before = number, len(api.requests)
                with life("run", cwd=directory, environment=variables, number=number) as daemon:
                    daemon.await_log("daemon.started")
                    if number == 0:
                        # before the first member, as far as the clients allow
                        for name, expected in story.expected.items():
                            sealer.seal(name, expected)
                    if number == story.seal_between:
                        clients.wait()
                        sealer.seal("between", None)
                    if chance.random() < 0.7:
                        # the others are killed while they start; by now the first answer is taken
                        eventually(lambda asked=before + 1: len(api.requests) > asked)  # type: ignore[misc]
                    time.sleep(chance.uniform(0, 0.6))  # the moment of the kill
                    daemon.kill()
            with life("run", cwd=directory, environment=variables, number=KILLS) as daemon:
                daemon.await_log("server.listening")
                clients.wait()
                replayed = _replay_alerts(receiver, address)
        api.phase = KILLS
        receiver.answer_always(Answer())
        _run_until_idle(directory, variables)
        # every operation has ended by now
        sealer.seal("late", None)
        _run_until_idle(directory, variables)
    arrived = {
        "stdout": read_events(directory / "stdout.ndjson"),
        "file": read_events(directory / "events.ndjson"),
        "webhook": accepted(receiver),
    }
    found = story.judge(arrived)
    audit(directory / "events.ndjson")
    posted = [event["id"] for event in arrived["webhook"]]
    assert all(posted.count(one) > 1 for one in replayed), f"KILL_SEED={SEED}"
    for name, sealed_at in sealer.sealed.items():
        [end] = [one for one in found["file"].events.values() if _is_end(one, name)]
        assert end["time"] >= sealed_at, f"KILL_SEED={SEED}: {name}"
    for log in directory.glob("log.*"):
        assert "Traceback" not in log.read_text(), log.read_text()


class Sealer:
    """Seals beside the daemon, as a command does; remembers when it began to."""

    def __init__(self, directory: Path, base_url: str) -> None:
        self.sealed: dict[str, str] = {}
        self._url = f"sqlite:///{directory / 'poller.db'}"
        self._scope = AccountScope(account=ACCOUNT, base_url=base_url)

    def seal(self, name: str, expected: int | None) -> None:
        """Seal a group now, or when it has `expected` members."""
        if expected is None:
            self.sealed[name] = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
        anyio.run(self._seal, name, expected)

    async def _seal(self, name: str, expected: int | None) -> None:
        store = await Store.open(self._url, self._scope, as_daemon=False)
        try:
            change = await store.groups.seal(name, expected, policy=Policy(progress_interval=0))
        finally:
            await store.aclose()
        assert expected is not None or change.group.sealed_at is not None, change.group


def _replay_alerts(receiver: Receiver, address: Path) -> Sequence[str]:
    """Send some alerts again that have arrived; returns their ids."""
    alerts = [event for event in accepted(receiver) if event["type"].endswith(".alert")]
    ids = [event["id"] for event in alerts[:3]]
    assert ids, f"KILL_SEED={SEED}"
    for one in ids:
        post(connect_to(address), f"/v1/events/{one}/replay", {})
    return ids


def _run_until_idle(cwd: Path, variables: dict[str, str]) -> None:
    """Let a daemon end what is left; what it printed is added to the lines of the lives."""
    done = poller(
        "run", "--until-idle", "--timeout", "8m", cwd=cwd, environment=variables, timeout=500
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with (cwd / "stdout.ndjson").open("a") as out:
        out.write(done.stdout)


def _is_end(event: Event, name: str) -> bool:
    return (event["type"], event["subject"]) == ("group.completed", name)
