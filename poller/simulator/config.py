"""The configuration of a simulator, and the printed instructions for using it."""

import hashlib
import json
from dataclasses import dataclass, field, fields
from shlex import quote
from typing import Final
from urllib.parse import urlsplit

from poller.simulator.kinds import check_shapes
from poller.simulator.operations import FATE_TAG
from poller.simulator.scenarios import SCENARIOS, scenario_named

OAUTH_PATH: Final = "/v2/token"
"""The path of the OAuth token endpoint, as on the vendor's host for it."""

_RATES: Final = ("rate_429", "rate_500", "rate_503", "rate_slow", "rate_broken")


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """The simulated faults: each rate is a share of all requests; their sum is at most 1.

    A request gets at most one fault. `retry_after` (seconds, rounded up) is the Retry-After of 429
    and 503; a slow answer begins after `slow_seconds`; a broken one is HTML, empty, truncated or a
    reset connection. `max_concurrency` limits requests in flight, like the vendor's limit.

    :raises ValueError: where a value is out of its range; the message names the field.
    """

    rate_429: float = 0.0
    retry_after: float = 1.0
    rate_500: float = 0.0
    rate_503: float = 0.0
    rate_slow: float = 0.0
    slow_seconds: float = 5.0
    rate_broken: float = 0.0
    max_concurrency: int = 100

    def __post_init__(self) -> None:
        for name in _RATES:
            if not 0 <= self._number(name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}; a rate is between 0 and 1")
        for name in ("retry_after", "slow_seconds"):
            if not 0 <= self._number(name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)!r}; give seconds, 0 or more")
        if (most := self._number("max_concurrency")) < 1 or most % 1:
            raise ValueError(f"max_concurrency is {most!r}; give a whole number, 1 or more")
        if (total := sum(self._number(name) for name in _RATES)) > 1 + 1e-9:
            raise ValueError(f"the rates add up to {total:g}; their sum must be at most 1")

    def _number(self, name: str) -> float:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name} is {value!r}, not a number")  # noqa: TRY004 - one error type for callers
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorConfig(Faults):
    """The configuration of a simulator, including the faults at its start.

    `speed` shortens the time between a send and its end. Timestamps are those of the real clock,
    because clients compare them with their own. Empty credentials are derived from the seed: the
    same seed accepts the same ones after a restart. They protect nothing and may be printed. OAuth
    tokens are valid for `token_seconds`. `fate` is the scenario of sends whose tags name none;
    `shapes` are names in `SHAPES`: variants of answers that differ from the vendor's reference.

    :raises ValueError: where a value is out of its range; the message names the field.
    """

    seed: int = 1
    speed: float = 1.0
    fate: str = "ordinary"
    shapes: tuple[str, ...] = ()
    account_sid: str = ""
    auth_token: str = field(default="", repr=False)
    api_key: str = ""
    api_secret: str = field(default="", repr=False)
    oauth_client_id: str = ""
    oauth_client_secret: str = field(default="", repr=False)
    token_seconds: float = 3600.0

    def __post_init__(self) -> None:
        Faults.__post_init__(self)
        if not 0 < self._number("speed") < float("inf"):
            raise ValueError(f"speed is {self.speed!r}; give a factor above 0, such as 20")
        scenario_named(self.fate)
        check_shapes(self.shapes)
        made = {
            "account_sid": "AC" + self._made("account"),
            "auth_token": self._made("token"),
            "api_key": "SK" + self._made("key"),
            "api_secret": self._made("secret"),
            "oauth_client_id": "OQ" + self._made("client"),
            "oauth_client_secret": self._made("client secret"),
        }
        for name, value in made.items():
            # The class is frozen; only here are its fields completed.
            object.__setattr__(self, name, getattr(self, name) or value)

    def faults(self) -> Faults:
        """Return the faults alone."""
        return Faults(**{each.name: getattr(self, each.name) for each in fields(Faults)})

    def accepts(self, username: str, password: str) -> bool:
        """Return whether these are the account's id and token, or its key and secret."""
        return (username, password) in {
            (self.account_sid, self.auth_token),
            (self.api_key, self.api_secret),
        }

    def _made(self, what: str) -> str:
        return hashlib.blake2b(f"{self.seed}:{what}".encode(), digest_size=16).hexdigest()


_SEND: Final = {
    "to": [
        {"address": "+14155550100", "channel": "PHONE"},
        {"address": "+14155550101", "channel": "PHONE"},
    ],
    "content": {"text": "Hello from the simulator"},
}


def usage(base_url: str, config: SimulatorConfig, *, hints: str = "") -> str:
    """Return instructions for clients and for sending; they end with a newline.

    `hints` is the URL to which events are pushed, empty for none.
    """
    server = f"{urlsplit(base_url).scheme}://{urlsplit(base_url).netloc}"
    fates = ", ".join(SCENARIOS)
    return f"""\
# A simulated Communications API (seed {config.seed}, speed {config.speed:g}). Point a client at it:
export POLLER_API__BASE_URL={quote(base_url)}
export TWILIO_ACCOUNT_SID={quote(config.account_sid)}
export TWILIO_AUTH_TOKEN={quote(config.auth_token)}
{_receiver(hints)}
# Or, instead of the token, OAuth client credentials:
# export POLLER_API__OAUTH_CLIENT_ID={quote(config.oauth_client_id)}
# export POLLER_API__OAUTH_CLIENT_SECRET={quote(config.oauth_client_secret)}
# export POLLER_API__OAUTH_TOKEN_URL={quote(server + OAUTH_PATH)}

# Send; the answer contains the operation's id:
curl -sS -X POST "$POLLER_API__BASE_URL/Messages" \\
  -u "$TWILIO_ACCOUNT_SID:$TWILIO_AUTH_TOKEN" \\
  -H 'Content-Type: application/json' \\
  -d {quote(json.dumps(_SEND))}

# "tags": {{"{FATE_TAG}": NAME}} in a send chooses how it ends: {fates}.
# In "to", a list of recipients is a group that shares one message.
# The true counts of a send: curl -sS {server}/_simulator/operations/ID/truth
# Receive a reply from a person: curl -sS -d '{{"text": "Stop"}}' {server}/_simulator/inbound
# Statistics of requests: curl -sS {server}/_simulator/stats
"""


def _receiver(hints: str) -> str:
    """Return the variables with which a poller accepts the pushed events."""
    if not hints:
        return ""
    parts = urlsplit(hints)
    place = parts.netloc.rpartition("@")[2]
    bare = parts._replace(netloc=place).geturl()
    return f"""\
export POLLER_SERVER__HINTS={quote(place)}
export POLLER_SERVER__HINTS_URL={quote(bare)}
"""
