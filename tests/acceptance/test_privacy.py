"""Nothing that a message was sent to, or says, gets out: looked for in every place that is left."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from poller.simulator import World
from poller.simulator.messages import MessageView
from poller.simulator.scenarios import Scenario
from tests.fakes.api import Reply, envelope
from tests.fakes.process import Poller, eventually
from tests.fakes.proxy import ApiProxy
from tests.fakes.simulated import Simulated
from tests.fakes.tls import NO_TLS

pytestmark = pytest.mark.acceptance

NUMBERS = [f"+1415867{number:04d}" for number in range(5300, 5340)]
EMAILS = [f"zelda.{number}@quibble.example" for number in range(40)]
SENDER = {"address": "+19037465521", "channel": "SMS"}
TEXT = "Dear Zelda Quibble, your one-time word is xylophone-marmalade"
WRITER = "+15093382214"
LETTER = "Stop writing to Zelda, says her grandmother"
ERROR_TEXT = "Unreachable destination handset."
GOSSIP = f"No handset at {NUMBERS[1]} (+1 (415) 867-5302), nor at {EMAILS[2]}."
SECRETS = [
    *("415867", "(415) 867", "quibble.example", "zelda.", "9037465521", "5093382214"),
    *("Zelda", "xylophone", "marmalade", "grandmother"),
]
TAGS = {"campaign": "autumn-crocus", "recipient": NUMBERS[3], NUMBERS[4]: "x", "mail": EMAILS[5]}
SHOWN_TAG = "autumn-crocus"
FAST = {
    "POLLER_POLLING__MIN_INTERVAL": "50ms",
    "POLLER_POLLING__MAX_INTERVAL": "200ms",
    "POLLER_POLLING__PROGRESS_INTERVAL": "0s",
    "POLLER_POLLING__BREAKDOWN": "true",
    "POLLER_LOG__LEVEL": "debug",
    "POLLER_SERVER__LISTEN": "127.0.0.1:0",
    "POLLER_SINKS": '{"out": {"type": "stdout"}, "log": {"type": "file", "path": "e.ndjson"}}',
}
ROUTES = ("/v1/operations", "/v1/sinks", "/v1/dead-letters", "/healthz", "/readyz", "/metrics")


def to(addresses: list[str], channel: str) -> list[dict[str, str]]:
    """Make recipients."""
    return [{"address": address, "channel": channel} for address in addresses]


def plant(simulator: Simulated) -> dict[str, str]:
    """Send to recognisable people; return the ids to watch, each with its kind."""
    world: World = simulator.world
    fate = Scenario(fallback=0.2, codes=((30003, 0.3), (61337, 0.2)), unaddressable=0.1)
    common: dict[str, Any] = {"tags": TAGS, "text": TEXT}
    phones, mails = to(NUMBERS, "PHONE"), to(EMAILS, "EMAIL")
    sms = world.send(recipients=phones, fate=fate, **common)
    failing = Scenario(codes=((30003, 1.0),))
    email = world.send(recipients=mails, kind="emails", fate=failing, **common)
    fallen = world.send(recipients=phones[:1], fate=failing, **common)
    slow = world.send(recipients=phones[:1], fate=Scenario(fallback=1.0), **common)
    group = world.send(recipients=phones, group=40, fate=fate, **common)
    ids = {sms.id: "messages", email.id: "emails"}
    for operation in (fallen, slow, group):
        view = MessageView.of(operation, seed=7, now=world.now(), base_url="")
        ids[view.id_of(0)] = "messages"
    return {**ids, world.receive(text=LETTER, sender=WRITER): "messages"}


def answers(address: str, names: list[str]) -> str:
    """Return all that the control API has to say, the stream of events included."""
    said = []
    with httpx.Client(base_url=address, trust_env=False, timeout=5, verify=NO_TLS) as client:
        for route in (*ROUTES, *(f"/v1/operations/{name}" for name in names)):
            answer = client.get(route)
            assert answer.status_code == 200, route
            said += [str(answer.headers), answer.text]
        finals = 0
        with client.stream("GET", "/v1/events", params={"from": "oldest"}) as stream:
            for line in stream.iter_lines():
                said.append(line)
                finals += '"final":true' in line
                if finals == len(names):
                    break
    return "\n".join(said)


def output_of(tmp_path: Path, **more: str) -> tuple[str, list[dict[str, Any]]]:
    """Watch it all to its end with gossiping refusals on the way; all that is left, and events."""
    gossip = Reply(status=400, body=envelope(21211, GOSSIP))
    with Simulated() as simulator, ApiProxy(simulator.base_url) as api:
        ids = plant(simulator)
        names = list(ids)
        refused: set[str] = set()

        def instead(path: str) -> Reply | None:
            plain = path.partition("?")[0]
            is_first = plain not in refused and plain.endswith(tuple(names))
            refused.add(plain)
            return gossip if is_first else None

        api.instead = instead
        api.edit = lambda body: body.replace(ERROR_TEXT.encode(), GOSSIP.encode())
        variables = {**simulator.environment, **api.environment, **FAST, **more}
        registrations = [json.dumps({"id": name, "kind": kind}) for name, kind in ids.items()]
        with Poller("run", "--stdin", cwd=tmp_path, environment=variables, stdin=True) as daemon:
            for registration in registrations:
                daemon.say(registration)
            eventually(lambda: {event["subject"] for event in daemon.events} == set(names))
            simulator.advance(600)
            eventually(
                lambda: (
                    sum("operation.breakdown" in line for line in list(daemon.out)) == 2
                    and sum('"final":true' in line for line in list(daemon.out)) == len(names)
                )
            )
            address = daemon.logged("server.listening")[0]["address"]
            said = answers(address, names)
            # killed, it leaves its write-ahead log behind
            daemon.kill()
            assert (tmp_path / "poller.db-wal").stat().st_size > 0
            left = b"".join(path.read_bytes() for path in tmp_path.glob("*"))
            everything = said + "".join([*daemon.out, *daemon.err]) + left.decode(errors="replace")
            return everything, daemon.events


def test_by_default_nothing_of_a_message_gets_out(tmp_path: Path) -> None:
    """Events, debug log, metrics, control API, stream, and every byte on the disk."""
    everything, events = output_of(tmp_path)
    assert "poll.failed" in everything
    assert "No handset at ••• (•••), nor at •••." in everything
    assert "61337" in everything
    assert SHOWN_TAG in everything
    assert [secret for secret in SECRETS if secret in everything] == []
    messages = [event["data"]["message"] for event in events if "message" in event["data"]]
    assert all("content" not in message for message in messages)
    assert not any("address" in one for message in messages for one in message.get("to", ()))


def test_addresses_that_were_asked_for_are_masked(tmp_path: Path) -> None:
    """With `include_addresses`: enough to tell one from another, never the whole, and no text."""
    everything, events = output_of(tmp_path, POLLER_POLLING__INCLUDE_ADDRESSES="true")
    assert [secret for secret in (*NUMBERS, *EMAILS, *SECRETS[6:]) if secret in everything] == []
    [explained] = [
        event["data"]["breakdown"]
        for event in events
        if event["type"] == "operation.breakdown" and event["data"]["kind"] == "messages"
    ]
    shown = [to for cause in explained["errors"] for one in cause["samples"] for to in one["to"]]
    assert shown
    assert {to[:5] for to in shown} == {"+1415"}
    assert all("•••" in to for to in shown)
    undelivered = next(event for event in events if event["type"] == "message.undelivered")
    [recipient] = undelivered["data"]["message"]["to"]
    assert recipient == {"address": "+1415•••5300", "channel": "PHONE"}
