"""`poller hints setup`: the printed commands run as they are, and hold no secret."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from poller.cli.commands.hints import setup_script
from poller.settings import SettingsError, SettingsLoader
from poller.tracking.hint import HINT_TYPES
from tests.cli.surroundings import Surroundings

# writes down what it is called with and what it reads, and answers as the vendor does
CURL = """#!/bin/sh
n=$(ls calls | wc -l)
{ printf '%s\\n' "$@"; printf -- '--stdin--\\n'; cat; } > "calls/$n"
echo '{"sid": "DG0123"}'
"""
URL = "https://poller.example.com/v1/hints"


def script(*settings: str) -> str:
    """Return what is printed with these settings."""
    return setup_script(SettingsLoader(None, list(settings)).load().settings)


def run(text: str, directory: Path) -> list[tuple[list[str], str]]:
    """Run a script with a curl of ours; the arguments and the standard input of each call."""
    (directory / "calls").mkdir()
    (directory / "bin").mkdir()
    (directory / "bin/curl").write_text(CURL)
    (directory / "bin/curl").chmod(0o755)
    path = f"{directory / 'bin'}:{os.environ['PATH']}"
    subprocess.run(
        ["/bin/sh", "-eu"],
        input=text,
        text=True,
        cwd=directory,
        env={**os.environ, "PATH": path},
        check=True,
    )
    calls = []
    for file in sorted((directory / "calls").iterdir()):
        arguments, _, stdin = file.read_text().partition("--stdin--\n")
        calls.append((arguments.splitlines(), stdin))
    return calls


def test_the_commands_make_a_sink_and_a_subscription(here: Surroundings) -> None:
    """With the account's token: the vendor signs. No secret is an argument, or in the script."""
    here.set(TWILIO_ACCOUNT_SID="AC1", TWILIO_AUTH_TOKEN="hush", POLLER_SERVER__HINTS_URL=URL)
    text = script("server.hints=127.0.0.1:0")
    assert "hush" not in text
    (sink, sink_input), (subscription, subscription_input) = run(text, here.directory)
    assert "https://events.twilio.com/v1/Sinks" in sink
    assert 'user = "AC1:hush"' in sink_input
    configuration = json.dumps({"destination": URL, "method": "POST"}, separators=(",", ":"))
    escaped = configuration.replace('"', '\\"')
    assert f'data-urlencode = "SinkConfiguration={escaped}"' in sink_input
    assert "https://events.twilio.com/v1/Subscriptions" in subscription
    assert "SinkSid=DG0123" in subscription
    assert subscription_input == 'user = "AC1:hush"\n'
    types = [json.loads(one[6:])["type"] for one in subscription if one.startswith("Types=")]
    assert types == list(HINT_TYPES)
    assert not any("hush" in argument for argument in [*sink, *subscription])


def test_with_basic_the_address_holds_user_and_password(here: Surroundings) -> None:
    """An API key signs nothing: the vendor gets credentials of their own."""
    here.set(
        TWILIO_API_KEY="SK1",
        TWILIO_API_SECRET="hush",
        POLLER_SERVER__HINTS_URL=URL,
        POLLER_SERVER__HINTS_USER="vendor",
        POLLER_SERVER__HINTS_PASSWORD="s3cret",
    )
    text = script("server.hints=127.0.0.1:0")
    assert "s3cret" not in text
    (sink, sink_input), (_, subscription_input) = run(text, here.directory)
    assert "https://vendor:s3cret@poller.example.com/v1/hints" in sink_input
    assert subscription_input == 'user = "SK1:hush"\n'
    assert not any("s3cret" in argument for argument in sink)


@pytest.mark.parametrize(
    ("environment", "field"),
    [
        ({"POLLER_SERVER__HINTS": "127.0.0.1:0"}, "server.hints"),
        ({"TWILIO_AUTH_TOKEN": "t"}, "server.hints_url"),
    ],
)
def test_what_is_missing_is_named(
    here: Surroundings, environment: dict[str, str], field: str
) -> None:
    """With the settings that help."""
    here.set(environment, TWILIO_ACCOUNT_SID="AC1")
    with pytest.raises(SettingsError) as refused:
        script()
    assert f"{field}:" in str(refused.value)
