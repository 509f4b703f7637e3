"""Logs: what a line may show."""

import json
import os
import subprocess
import sys

import pytest
import structlog

from poller.cli.logs import configure_logs


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_shows_no_variables(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Where it happened and why, but no value: some are secrets."""

    def fail(password: str) -> None:
        assert password
        raise RuntimeError("a defect")

    configure_logs(level="info", form=form)
    try:
        fail(f"hunter{2}")  # a traceback may show the line, but not the value
    except RuntimeError:
        structlog.get_logger().exception("check.failed")
    found = capsys.readouterr().err
    assert "Traceback (most recent call last)" in found
    assert "RuntimeError: a defect" in found
    assert "hunter2" not in found


LINES = """
import logging, sys
import structlog
from poller.cli.logs import configure_logs
from poller.cli.stderr import install

install()
configure_logs(level="info", form="json")
structlog.get_logger().info("much", text="\\n\\"" * 100_000)
logging.getLogger("asyncio").error("Task exception was never retrieved")
sys.stderr.write(sys.stderr.notice(3))
"""


def test_every_line_has_one_form_and_a_greatest_length() -> None:
    """What is too long is cut; libraries, and what is said of lost lines, are like all others."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "PYTHONPATH") if name in os.environ}
    command = [sys.executable, "-c", LINES]
    done = subprocess.run(command, env=kept, check=True, timeout=60, text=True, capture_output=True)
    assert max(map(len, done.stderr.splitlines())) < 70_000
    much, library, recovered = map(json.loads, done.stderr.splitlines())
    assert all({"timestamp", "level", "event"} <= set(line) for line in (much, library, recovered))
    assert much["event"] == "much"
    assert (library["logger"], library["level"]) == ("asyncio", "error")
    assert (recovered["event"], recovered["dropped_lines"]) == ("log.recovered", 3)
