"""The daemon as process 1, which gets no signal that it does not handle."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.namespaces import handles, needs_namespaces, process_one
from tests.fakes.process import eventually

pytestmark = [pytest.mark.acceptance, needs_namespaces]


def test_it_can_be_stopped_before_it_has_begun(tmp_path: Path) -> None:
    """An orchestrator that changes its mind at once need not wait for the grace to run out."""
    outside = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-m", "poller", "run"],  # noqa: S607 - where it is differs
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "TWILIO_API_KEY": "a", "TWILIO_API_SECRET": "b"},
    )
    try:
        eventually(lambda: (one := process_one(outside.pid)) is not None and _handles(one))
        os.kill(process_one(outside.pid) or outside.pid, signal.SIGTERM)
        assert outside.wait(timeout=30) == 0
    finally:
        outside.kill()
        outside.wait()


def _handles(one: int) -> bool:
    return handles(one, signal.SIGTERM)
