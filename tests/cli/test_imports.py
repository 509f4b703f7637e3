"""The imports of a daemon: what is left out of them, and what is as before afterwards."""

import os
import subprocess
import sys

# in a process of its own: what is frozen stays so for good
PROGRAM = """
import gc, sys
from poller.cli.imports import imports_of_a_daemon

def refused(name):
    try:
        __import__(name)
    except ImportError:
        return True
    return False

import {before}
with imports_of_a_daemon():
    print([name for name in ("rich", "pygments") if refused(name)], gc.isenabled())
print([name for name in ("rich", "pygments") if refused(name)], gc.isenabled())
print(gc.get_freeze_count() > 1000)
"""


def run(program: str) -> list[str]:
    """Run a program; the lines that it prints."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "PYTHONPATH") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=kept,
        check=True,
        timeout=60,
        text=True,
        capture_output=True,
    )
    return done.stdout.splitlines()


def test_what_is_for_people_is_hidden_meanwhile() -> None:
    """And nothing is collected; afterwards all is there, and what was imported is left alone."""
    hidden, after, frozen = run(PROGRAM.format(before="typer"))
    assert hidden == "['rich', 'pygments'] False"
    assert after == "[] True"
    assert frozen == "True"


def test_what_is_there_already_stays() -> None:
    """Whoever imported it first goes on with it."""
    hidden, _, _ = run(PROGRAM.format(before="rich"))
    assert hidden == "['pygments'] False"
