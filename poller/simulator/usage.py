"""What `poller simulate` prints: lines that a POSIX shell can take as they are."""

import json
from shlex import quote
from typing import Final
from urllib.parse import urlsplit

from poller.simulator.config import SimulatorConfig
from poller.simulator.scenarios import SCENARIOS
from poller.simulator.sends import FATE_TAG

__all__ = ["usage"]

_SEND: Final = {
    "to": [
        {"address": "+14155550100", "channel": "PHONE"},
        {"address": "+14155550101", "channel": "PHONE"},
    ],
    "content": {"text": "Hello from the simulator"},
}


def usage(base_url: str, config: SimulatorConfig) -> str:
    """Say how to point a client at the simulator and how to send; ends with a newline."""
    server = f"{urlsplit(base_url).scheme}://{urlsplit(base_url).netloc}"
    fates = ", ".join(SCENARIOS)
    return f"""\
# A simulated Communications API (seed {config.seed}, speed {config.speed:g}). Point a client at it:
export POLLER_API__BASE_URL={quote(base_url)}
export TWILIO_ACCOUNT_SID={quote(config.account_sid)}
export TWILIO_AUTH_TOKEN={quote(config.auth_token)}

# Send; the answer holds the operation's id:
curl -sS -X POST "$POLLER_API__BASE_URL/Messages" \\
  -u "$TWILIO_ACCOUNT_SID:$TWILIO_AUTH_TOKEN" \\
  -H 'Content-Type: application/json' \\
  -d {quote(json.dumps(_SEND))}

# A tag “{FATE_TAG}” chooses what becomes of a send: {fates}.
# A list in place of a recipient, in “to”, is a group that shares one message.
# What has become of a send, counted: curl -sS {server}/_simulator/operations/ID/truth
# Somebody writes back: curl -sS -d '{{"text": "Stop"}}' {server}/_simulator/inbound
# What was asked of the simulator: curl -sS {server}/_simulator/stats
"""
