"""PgBouncer in transaction mode before the private server of the tests."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.store.cluster import Cluster, NoServer

__all__ = ["pooling"]

_PATIENCE = 20.0


@contextmanager
def pooling(cluster: Cluster, *, connections: int) -> Iterator[int]:
    """Run PgBouncer with `connections` connections to each database; returns its port on 127.0.0.1.

    :raises NoServer: where it is not installed, or does not start.
    """
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise NoServer("no pgbouncer found; tests/postgres.sh installs it")
    # like the server, it does not run as root
    owner = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
    directory = Path(tempfile.mkdtemp(prefix="poller-pgb-"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    settings = directory / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\n* = host={cluster.socket} user=poller\n[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        f"pool_mode = transaction\ndefault_pool_size = {connections}\n"
        f"logfile = {directory}/pgbouncer.log\n"
    )
    if owner is not None:
        for path in (directory, settings):
            os.chown(path, owner.pw_uid, owner.pw_gid)
    process = subprocess.Popen(
        [program, "-q", settings],
        user=None if owner is None else owner.pw_uid,
        group=None if owner is None else owner.pw_gid,
        extra_groups=None if owner is None else (),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port, process)
        yield port
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(directory, ignore_errors=True)


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise NoServer("pgbouncer did not start")
