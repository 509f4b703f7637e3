"""`poller hints setup`: the commands that let the vendor push hints."""

import json
import sys
from enum import StrEnum
from shlex import quote
from typing import Annotated, Final
from urllib.parse import urlsplit

import typer

from poller.cli.options import Config, Overrides, Version
from poller.settings import Settings, SettingsError, SettingsLoader, SettingsProblem
from poller.tracking.hint import HINT_TYPES

_API: Final = "https://events.twilio.com/v1"
# read by curl: JSON in a quoted value; of two backslashes printf removes one
_SINK: Final = (
    r'user = "%s:%s"\ndata-urlencode = '
    r'"SinkConfiguration={\\"destination\\":\\"%s\\",\\"method\\":\\"POST\\"}"\n'
)
_KEY: Final = ("$TWILIO_API_KEY", "$TWILIO_API_SECRET")
_TOKEN: Final = ("$TWILIO_ACCOUNT_SID", "$TWILIO_AUTH_TOKEN")


class HintsAction(StrEnum):
    """The actions of the command."""

    SETUP = "setup"


def command(
    action: Annotated[HintsAction, typer.Argument(help="print the commands that set it up.")],
    config: Config = None,
    overrides: Overrides = None,
    _version: Version = False,
) -> int:
    """Print the commands that let the vendor push hints to server.hints_url.

    They create a sink and a subscription of Event Streams. This command sends nothing: check
    what it prints, then run that in a shell. With hints the poller notices ends sooner.
    """
    settings = SettingsLoader(config, overrides).load("api", "server").settings
    if action is HintsAction.SETUP:
        sys.stdout.write(setup_script(settings))
    return 0


def setup_script(settings: Settings) -> str:
    """Return a shell script that creates the vendor's sink and its subscription.

    It contains no secret: it reads them from variables, and passes them to curl by standard input.

    :raises SettingsError: where `server.hints_url`, or a way to recognize forged pushes, is not
        set.
    """
    settings.require_hint_access()
    if not settings.server.hints_url:
        raise SettingsError(
            [
                SettingsProblem(
                    field="server.hints_url",
                    what="missing: the vendor must know where to push to",
                    fix='set it to the address from outside, such as "https://HOST/v1/hints"',
                )
            ]
        )
    user, password = _KEY if settings.api.api_key is not None else _TOKEN
    types = " \\\n".join(
        f"  --data-urlencode {quote(f'Types={_type(name)}')}" for name in HINT_TYPES
    )
    sid = 'import json, sys; print(json.load(sys.stdin)["sid"])'
    return f"""\
# Lets the vendor's Event Streams push hints to this poller. Needs curl and Python.
{_destination(settings)}

# 1. The sink. Its id is needed by the subscription.
SINK=$(printf '{_SINK}' \\
    "{user}" "{password}" "$DESTINATION" |
  curl -sS --fail-with-body -K - {_API}/Sinks \\
    --data-urlencode 'Description=comms-poller' -d SinkType=webhook |
  python3 -c {quote(sid)})

# 2. The subscription. Without the message types, hints are about operations only.
printf 'user = "%s:%s"\\n' "{user}" "{password}" |
  curl -sS --fail-with-body -K - {_API}/Subscriptions \\
  --data-urlencode 'Description=comms-poller' -d "SinkSid=$SINK" \\
{types}

# 3. Start the daemon with server.hints, and check comms_poller_hints_total in its metrics.
"""


def _destination(settings: Settings) -> str:
    server = settings.server
    if settings.api.auth_token is not None:
        note = "# The vendor signs its pushes with api.auth_token."
        return f"{note}\nDESTINATION={quote(server.hints_url)}"
    parts = urlsplit(server.hints_url)
    names = "$POLLER_SERVER__HINTS_USER:$POLLER_SERVER__HINTS_PASSWORD"
    return (
        "# User and password are part of the address; write % codes for special characters.\n"
        f'DESTINATION="{parts.scheme}://{names}@{parts.netloc}{parts.path}"'
    )


def _type(name: str) -> str:
    return json.dumps({"type": name, "schema_version": 1}, separators=(",", ":"))
