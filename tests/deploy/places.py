"""What is deployed, and the same with other ports, so that tests on one machine do not collide."""

import shutil
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

__all__ = ["DEPLOY", "ROOT", "relocated", "spare_ports"]

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def spare_ports(*ports: int) -> Mapping[str, str]:
    """Find a free port to stand in for each of these."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in ports]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return {
            str(port): str(each.getsockname()[1]) for port, each in zip(ports, sockets, strict=True)
        }


def relocated(place: Path, target: Path, ports: Mapping[str, str]) -> Path:
    """Copy a directory, other ports in every file of it; returns `target`."""
    shutil.copytree(place, target)
    for file in target.rglob("*"):
        if file.is_file():
            text = file.read_text()
            for port, other in ports.items():
                text = text.replace(port, other)
            file.write_text(text)
    return target
