"""Logs: what a line may show."""

import os
import subprocess
import sys

import pytest

# in a process of its own: the configuration is that of the whole process
PROGRAM = """
import structlog
from poller.cli.logs import configure_logs

configure_logs(level="info", form="{form}")

def fail(password):
    raise RuntimeError("a defect")

try:
    fail("hunter2")
except RuntimeError:
    structlog.get_logger().exception("daemon.defect")
"""


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_shows_no_variables(form: str) -> None:
    """Where it happened and why, but no value: some are secrets."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "PYTHONPATH") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(form=form)],
        env=kept,
        check=True,
        timeout=60,
        text=True,
        capture_output=True,
    )
    assert "Traceback (most recent call last)" in done.stderr
    assert "RuntimeError: a defect" in done.stderr
    assert "hunter2" not in done.stderr
