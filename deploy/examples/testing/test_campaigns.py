"""How to test an application that sends: a simulated API, a real poller, real webhooks.

    pip install comms-poller pytest standardwebhooks
    pytest deploy/examples/testing

config/testing.md explains the fixtures.
"""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from campaigns import Campaigns

from poller.testing import CommsSimulator, PollerDaemon

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Hooks(ThreadingHTTPServer):
    """Receives webhooks for the application; `hear` is set once there is one."""

    hear: Callable[..., None]
    daemon_threads = True


class Handler(BaseHTTPRequestHandler):
    """Hands each webhook over."""

    server: Hooks

    def do_POST(self) -> None:
        """Answer 2xx once the application has taken it."""
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.hear(body, {name.lower(): value for name, value in self.headers.items()})
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep the output of the tests readable."""


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    """Listen for webhooks on a free port."""
    with Hooks(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def poller_settings(hooks: Hooks) -> dict[str, Any]:
    """Let the poller post everything that ends to the application."""
    url = f"http://127.0.0.1:{hooks.server_address[1]}/hooks"
    events = ["final", "operation.breakdown"]
    return {"sinks": {"app": {"type": "webhook", "url": url, "secret": SECRET, "events": events}}}


@pytest.fixture
def campaigns(
    comms_simulator: CommsSimulator, poller_daemon: PollerDaemon, hooks: Hooks
) -> Campaigns:
    """Start the application with both."""
    made = Campaigns(
        api=comms_simulator.base_url,
        credentials=(comms_simulator.account_sid, comms_simulator.auth_token),
        poller=poller_daemon.url,
        secret=SECRET,
    )
    hooks.hear = made.hear
    return made


def test_a_campaign_is_sent_to_its_end(campaigns: Campaigns, poller_daemon: PollerDaemon) -> None:
    """The application sends, and the webhook tells it the end."""
    operation = campaigns.start("autumn", ["+14155550101", "+14155550102"], "Our autumn sale")
    final = poller_daemon.wait_delivered(operation)
    assert final.labels == {"campaign": "autumn"}
    assert final.counters["total"] == 2
    assert "autumn" in campaigns.ended


def test_somebody_has_said_stop(
    campaigns: Campaigns, comms_simulator: CommsSimulator, poller_daemon: PollerDaemon
) -> None:
    """Another process has sent; one recipient is unreachable, and one has opted out."""
    operation = comms_simulator.send(2, failing_with=[30003, 21610])
    comms_simulator.advance(60)  # all receipts are in
    poller_daemon.watch(operation, labels={"campaign": "winter"}, breakdown=True)
    poller_daemon.wait_for(lambda event: event.breakdown is not None)
    poller_daemon.wait_delivered(operation)
    assert campaigns.ended == {"winter": "failed"}
    assert campaigns.opted_out == {"winter"}


def test_a_scheduled_campaign_is_canceled(
    campaigns: Campaigns, comms_simulator: CommsSimulator, poller_daemon: PollerDaemon
) -> None:
    """It was to begin in ten minutes, and somebody stops it before."""
    operation = comms_simulator.send(5, scheduled_in=600)
    poller_daemon.watch(operation, labels={"campaign": "spring"})
    poller_daemon.wait_for(lambda event: event.status == "SCHEDULED")
    comms_simulator.cancel(operation)
    poller_daemon.wait_delivered(operation)
    assert campaigns.ended == {"spring": "canceled"}
