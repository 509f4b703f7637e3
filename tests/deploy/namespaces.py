"""Name spaces, as containers have them: who is process 1 of them, and what it handles."""

import os
import re
import shutil
import signal
from pathlib import Path

import pytest

__all__ = ["handles", "needs_namespaces", "process_one"]

needs_namespaces = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "setpriv"))),
    reason="name spaces take root, unshare and setpriv",
)


def process_one(outside: int) -> int | None:
    """Find the descendant that is process 1 of its own name space; None until it runs."""
    try:
        children = Path(f"/proc/{outside}/task/{outside}/children").read_text().split()
        for child in map(int, children):
            *_, inner = _status(child, "NSpid").split()
            return child if inner == "1" else process_one(child)
    except FileNotFoundError:
        pass
    return None


def handles(process: int, number: signal.Signals) -> bool:
    """Whether the process has a handler for this signal."""
    return bool(int(_status(process, "SigCgt"), 16) & 1 << (number - 1))


def _status(process: int, name: str) -> str:
    (value,) = re.findall(
        rf"^{name}:\s+(.*)$", Path(f"/proc/{process}/status").read_text(), re.MULTILINE
    )
    return str(value)
