"""An application that sends campaigns, in short; `test_campaigns.py` beside it tests it.

It hands the recipients to the API, the operation to the poller, and learns the end from a webhook.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
from standardwebhooks import Webhook

OPTED_OUT = 21610  # the recipient has said stop


@dataclass
class Campaigns:
    """The campaigns of one account; `ended` has the outcome of each, `opted_out` who said stop.

    `api` and `poller` are base URLs; `secret` signs the webhooks.
    """

    api: str
    credentials: tuple[str, str]
    poller: str
    secret: str
    ended: dict[str, str] = field(default_factory=dict)
    opted_out: set[str] = field(default_factory=set)

    def start(self, name: str, recipients: Sequence[str], text: str) -> str:
        """Send a text to phone numbers; returns the id of the operation."""
        to = [{"address": one, "channel": "PHONE"} for one in recipients]
        with httpx.Client(auth=self.credentials) as client:
            sent = client.post(f"{self.api}/Messages", json={"to": to, "content": {"text": text}})
            operation: str = sent.raise_for_status().json()["operationId"]
        wish = {"id": operation, "labels": {"campaign": name}, "breakdown": True}
        httpx.post(f"{self.poller}/v1/operations", json=wish).raise_for_status()
        return operation

    def hear(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Take a webhook of the poller; it may come twice, which changes nothing."""
        Webhook(self.secret).verify(body, dict(headers))
        event: dict[str, Any] = json.loads(body)
        data = event["data"]
        campaign = data["labels"].get("campaign")
        if event["type"] == "operation.breakdown":
            codes = {error["code"] for error in data["breakdown"]["errors"]}
            if OPTED_OUT in codes:
                self.opted_out.add(campaign)
        elif data["final"]:
            stats = data["operation"].get("stats", {})
            undone = stats.get("failed", 0) + stats.get("undelivered", 0)
            self.ended[campaign] = "failed" if undone else event["type"].partition(".")[2]
