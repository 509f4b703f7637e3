"""Groups and alerts that three daemons share: members come to any of them, and all are killed.

`KILL_SEED` repeats the story: the operations, the groups, the moments, the failures of the webhook.
"""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from tests.cluster.fleet import Fleet, Member
from tests.fakes.process import eventually
from tests.fakes.receiver import Answer, Receiver
from tests.kill.campaigns import Campaigns
from tests.kill.group_story import KILLS, GroupStory, accepted, audit

pytestmark = pytest.mark.slow

SEED = int(os.environ.get("KILL_SEED", "0")) or Random().randrange(1, 1_000_000)  # noqa: S311 - printed
AT_ONCE = 2


@pytest.fixture
def story() -> GroupStory:
    """Make operations and groups."""
    return GroupStory(SEED)


@pytest.fixture
def api(story: GroupStory) -> Iterator[Campaigns]:
    """Run the API with them."""
    with story.api as api:
        yield api


def test_a_group_ends_once_and_an_alert_fires_once_whichever_daemon_sees_it(
    fleet: Fleet, story: GroupStory, api: Campaigns, tmp_path: Path
) -> None:
    """Exact sums after the seal and the last member; the webhook fails a third of the time."""
    chance = story.chance

    def fickle(*_: object) -> Answer:
        return Answer(status=503) if chance.random() < 1 / 3 else Answer()

    with Receiver(default=fickle) as receiver:
        settings = {
            **story.settings,
            "sinks": json.dumps({"app": {"type": "webhook", "url": receiver.url}}),
        }
        daemons = fleet.start(3, **settings)
        for name, expected in story.expected.items():
            seal(daemons[0], name, expected)

        def connect(choice: Random) -> socket.socket:
            return socket.create_connection(("127.0.0.1", choice.choice(daemons).port), timeout=5)

        with story.clients(connect) as clients:
            for number in range(0, KILLS, AT_ONCE):
                api.phase, asked = number, len(api.requests)
                eventually(lambda asked=asked: len(api.requests) > asked)  # type: ignore[misc]
                if number <= story.seal_between < number + AT_ONCE:
                    clients.wait()
                    seal(chance.choice(daemons), "between", None)
                time.sleep(chance.uniform(0, 1.0))  # the moment of the kill
                for victim in chance.sample(daemons, AT_ONCE):
                    victim.process.kill()
                    daemons.remove(victim)
                daemons += fleet.start(AT_ONCE, **settings)
            clients.wait()
        api.phase = KILLS
        receiver.answer_always(Answer())
        eventually(lambda: open_groups(daemons[0]) == ["late"], timeout=240)
        eventually(lambda: running(daemons[0]) == 0, timeout=120)
        seal(chance.choice(daemons), "late", None)
        eventually(lambda: open_groups(daemons[0]) == [], timeout=60)
        eventually(lambda: waiting(daemons[0]) == 0, timeout=240)
        arrived = accepted(receiver)
    story.judge({"webhook": arrived})
    path = tmp_path / "events.ndjson"
    path.write_text("".join(json.dumps(event) + "\n" for event in arrived))
    audit(path)


def seal(daemon: Member, name: str, expected: int | None) -> None:
    """Seal a group now, or when it has `expected` members."""
    body = {} if expected is None else {"expected": expected}
    assert daemon.ask("POST", f"/v1/groups/{name}/seal", body)["name"] == name


def open_groups(daemon: Member) -> list[str]:
    """Name the groups that have not ended."""
    with suppress(OSError):
        groups = daemon.ask("GET", "/v1/groups")["groups"]
        return [group["name"] for group in groups if group["state"] != "ended"]
    return ["no answer"]


def running(daemon: Member) -> int:
    """Count what is watched."""
    return int(daemon.ask("GET", "/v1/summary")["running"])


def waiting(daemon: Member) -> int:
    """Count the events that wait for the webhook."""
    return sum(sink["waiting"] for sink in daemon.ask("GET", "/v1/sinks")["sinks"])
