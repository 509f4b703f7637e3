"""A sending application, in short: send, hand the operation id to the poller, hear how it ends.

It takes the poller's own variables; deploy/README.md says how to start the poller, and a simulated
API that needs no account:

    pip install -r deploy/examples/requirements.txt
    python deploy/examples/sending_app.py

It prints each event and exits with 0 when its operation has ended. `LISTEN` (127.0.0.1) and `PORT`
(3000) are where it listens for webhooks, `POLLER_URL` (http://127.0.0.1:8470) where the poller is.
"""

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from typing import Any

import httpx
from standardwebhooks import Webhook, WebhookVerificationError

API = os.environ["POLLER_API__BASE_URL"]
POLLER = os.environ.get("POLLER_URL", "http://127.0.0.1:8470")
LISTEN = os.environ.get("LISTEN", "127.0.0.1")
PORT = int(os.environ.get("PORT", "3000"))
RECIPIENTS = 40

webhook = Webhook(os.environ["POLLER_SINKS__APP__SECRET"])
events: Queue[dict[str, Any]] = Queue()


class Hooks(BaseHTTPRequestHandler):
    """Receives the poller's webhooks."""

    def do_POST(self) -> None:
        """Verify the raw body, and only then believe it."""
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            webhook.verify(body, {name.lower(): value for name, value in self.headers.items()})
        except WebhookVerificationError:
            self.send_error(401)
            return
        # write it down before answering: what is answered with 2xx is never sent again
        events.put(json.loads(body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep still about requests."""


def send(client: httpx.Client) -> str:
    """Send in bulk; returns the operation's id."""
    message = {
        "to": [{"address": f"+1415555{n:04}", "channel": "PHONE"} for n in range(RECIPIENTS)],
        "content": {"text": "Hello from the sending application"},
    }
    account = (os.environ["TWILIO_ACCOUNT_SID"], os.environ["TWILIO_AUTH_TOKEN"])
    answer = client.post(f"{API}/Messages", json=message, auth=account).raise_for_status()
    operation: str = answer.json()["operationId"]
    return operation


def register(client: httpx.Client, operation: str) -> None:
    """Tell the poller. Once it has answered it forgets nothing, whatever is killed."""
    token = os.environ.get("POLLER_SERVER__TOKEN")
    headers = {"authorization": f"Bearer {token}"} if token else {}
    wish = {"id": operation, "labels": {"campaign": "autumn"}}
    client.post(f"{POLLER}/v1/operations", json=wish, headers=headers).raise_for_status()


def hear_the_end(operation: str) -> None:
    """Print what comes until this operation has ended."""
    seen = set()
    while True:
        event = events.get()
        if event["id"] in seen:  # a repeated event has the same id
            continue
        seen.add(event["id"])
        data = event["data"]
        print(event["type"], event["subject"], data["labels"], data["delta"], flush=True)
        if data["final"] and event["subject"] == operation:
            return


def main() -> None:
    """Send one campaign and wait for its end."""
    hooks = ThreadingHTTPServer((LISTEN, PORT), Hooks)
    threading.Thread(target=hooks.serve_forever, daemon=True).start()
    # where nobody listens yet, try again
    with httpx.Client(transport=httpx.HTTPTransport(retries=5), timeout=10) as client:
        operation = send(client)
        register(client, operation)  # idempotent: after a failure, do it again
    print("watching", operation, flush=True)
    hear_the_end(operation)
    hooks.shutdown()
    hooks.server_close()


if __name__ == "__main__":
    main()
