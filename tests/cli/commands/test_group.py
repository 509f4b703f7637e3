"""`poller group show`: what a person reads of a group."""

import copy
from typing import Any

import pytest
from typer.testing import CliRunner

from poller.cli.app import app
from poller.cli.commands.group import show_group
from poller.cli.session import Target
from poller.server.examples import EXAMPLES
from tests.control.fake_daemon import FakeDaemon, Reply


def shown(group: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Run the command; returns the facts by their names."""
    with FakeDaemon(lambda _: Reply(body=group)) as daemon:
        assert show_group(Target(str(daemon.address)), "autumn-2026", json_output=False) == 0
    lines = capsys.readouterr().out.splitlines()
    return dict(line.split("\t", 1) for line in lines)


@pytest.mark.usefixtures("here")
def test_counters_are_read_at_a_glance(capsys: pytest.CaptureFixture[str]) -> None:
    """No zeros, thousands apart, and a total that is not known yet is not a number."""
    group: dict[str, Any] = copy.deepcopy(EXAMPLES["groupStory"])
    group["counters"] = {"total": 0, "delivered": 12_500, "failed": 0}
    group["progress"] |= {"total": None, "done": 12_500, "failed": 0}
    facts = shown(group, capsys)
    assert facts["messages"] == "12,500 of ? done, 0 failed"
    assert facts["counters"] == "12,500 delivered"


def test_a_bad_name_is_a_mistake_in_the_argument() -> None:
    """The message names NAME, not an option of other commands."""
    result = CliRunner().invoke(app, ["group", "show", "a b"])
    assert result.exit_code == 2
    assert "Invalid value for NAME: must be 1 to 64" in " ".join(result.output.split())
