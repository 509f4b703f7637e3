"""`poller simulate`'s options: what they mean, and what is said about a bad one."""

import inspect
import re
from dataclasses import MISSING, fields

import pytest
from typer.testing import CliRunner

from poller.cli.app import app
from poller.cli.commands.simulate import DEFAULT_HOST, DEFAULT_PORT, command, expected_samples
from poller.comms.ids import check_operation_id
from poller.simulator import SCENARIOS, SimulatorConfig, usage


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("--rate-429 1.5", "--rate-429"),
        ("--rate-500 -1", "--rate-500"),
        ("--rate-503 nan", "--rate-503"),
        ("--rate-slow x", "--rate-slow"),
        ("--rate-broken 2", "--rate-broken"),
        ("--rate-429 0.6 --rate-500 0.6", "--rate-"),
        ("--retry-after -1", "--retry-after"),
        ("--slow-seconds inf", "--slow-seconds"),
        ("--max-concurrency 0", "--max-concurrency"),
        ("--speed 0", "--speed"),
        ("--seed x", "--seed"),
        ("--fate doom", "--fate"),
        ("--shape odd", "--shape"),
        ("--port 65536", "--port"),
        ("--operations -1", "--operations"),
        ("--recipients 10001", "--recipients"),
    ],
)
def test_a_bad_value_is_refused(options: str, named: str) -> None:
    """Exit 2, with a message that names the option."""
    result = CliRunner().invoke(app, ["simulate", *options.split()])
    assert result.exit_code == 2
    assert named in result.stderr
    assert result.stdout == ""


def test_defaults_are_the_simulators_own() -> None:
    """The command line says the same as `SimulatorConfig()`."""
    options = inspect.signature(command).parameters
    known = {each.name: each.default for each in fields(SimulatorConfig)}
    shared = {name for name in options if name in known}
    assert {name: options[name].default for name in shared} == {
        name: known[name] for name in shared
    }
    unsettable = {"account_sid", "auth_token", "api_key", "api_secret"}
    unsettable |= {"oauth_client_id", "oauth_client_secret", "token_seconds"}
    # an option is named in the singular: each `--shape` adds one
    assert set(known) - shared == unsettable | {"shapes"}
    assert MISSING not in {known[name] for name in shared}


def test_help_names_every_fate() -> None:
    """A fate can be chosen without reading the code."""
    shown = CliRunner().invoke(app, ["simulate", "--help"], terminal_width=200).stdout
    assert all(re.search(rf"\b{fate}\b", shown) for fate in SCENARIOS)


def test_what_is_announced_are_real_lines_and_ids() -> None:
    """The demo's advice holds the `export` lines of a default simulator, and ids of its samples."""
    exports, ids = expected_samples(3)
    printed = usage(f"http://{DEFAULT_HOST}:{DEFAULT_PORT}/v1", SimulatorConfig()).splitlines()
    assert len(exports) == 3
    assert set(exports) <= set(printed)
    assert len({check_operation_id(each) for each in ids}) == 3
