"""Where to listen, and opening the socket: a TCP port, or a unix socket."""

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from poller.addresses import ListenAddress, TcpAddress, is_loopback, join_host
from poller.os_errors import needs_change

_BACKLOG: Final = 256
_PROBE_SECONDS: Final = 1.0


class ListenError(Exception):
    """The address cannot be listened on: `message` names it and the fault, `hint` the fix.

    If `needs_change`, a retry cannot help, only a change of settings, paths or permissions.
    """

    def __init__(self, message: str, hint: str, *, needs_change: bool = False) -> None:
        super().__init__(f"{message}; {hint}")
        self.message = message
        self.hint = hint
        self.needs_change = needs_change


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where the control API listens; an address is None if it is off.

    `observe` serves only the health routes and never requires the token. `socket_mode` is the mode
    of unix sockets, as for `os.chmod`. `public_url` is another URL of the page. `hints` accepts the
    vendor's pushes, which have credentials of their own.
    """

    address: ListenAddress | None
    token: SecretStr | None = None
    public_url: str = ""
    socket_mode: int = 0o600
    observe: ListenAddress | None = None
    hints: ListenAddress | None = None

    @property
    def is_anywhere(self) -> bool:
        """Whether there is anything to serve."""
        return self.serves_metrics or self.hints is not None

    @property
    def serves_metrics(self) -> bool:
        """Whether a listener serves the metrics."""
        return self.address is not None or self.observe is not None


@contextmanager
def taken(
    place: ListenAddress, *, setting: str, mode: int, guarded: bool
) -> Iterator[socket.socket]:
    """Listen at an address, and remove the unix socket at the end; errors name the `setting`.

    :raises ListenError: where that fails, or where other machines could reach the address and it
        is not `guarded` by a token.
    """
    if isinstance(place, TcpAddress):
        with _bind_tcp(place, setting, guarded=guarded) as listener:
            yield listener
        return
    with _bind_unix(place.path, setting, mode) as listener:
        ours = _identity(place.path)
        try:
            yield listener
        finally:
            if _identity(place.path) == ours:
                place.path.unlink(missing_ok=True)


def url_of(listener: socket.socket) -> str:
    """Return the address of a listener in the form for clients: `http://…` or `unix:/…`."""
    name = listener.getsockname()
    if listener.family is socket.AF_UNIX:
        return f"unix:{name}"
    return f"http://{join_host(name[0], name[1])}"


def _bind_tcp(place: TcpAddress, setting: str, *, guarded: bool) -> socket.socket:
    where = str(place)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            place.host, place.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        if not guarded and not is_loopback(str(address[0])):
            raise ListenError(
                f"{setting}: other machines can reach {where}, and there is no server.token",
                "set POLLER_SERVER__TOKEN, or listen on 127.0.0.1 or a unix socket",
                needs_change=True,
            )
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _refused(setting, where, error) from error
    try:
        listener.setblocking(False)  # noqa: FBT003 - the standard library's signature
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # at once: another process could listen on a port that is only bound
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise _refused(setting, where, error) from error
    return listener


def _bind_unix(path: Path, setting: str, mode: int) -> socket.socket:
    _remove_stale(path, setting)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)  # noqa: FBT003 - the standard library's signature
        # Linux creates the file with the socket's mode, so it is never more permissive
        os.fchmod(listener.fileno(), mode)
        listener.bind(str(path))
        path.chmod(mode)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise _refused(setting, str(path), error) from error
    return listener


def _remove_stale(path: Path, setting: str) -> None:
    """Remove a socket file on which no process listens."""
    try:
        found = path.lstat()
        if not stat.S_ISSOCK(found.st_mode):
            raise ListenError(
                f"{setting}: {path} exists and is not a socket",
                "name another path, or move it away",
                needs_change=True,
            )
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(_PROBE_SECONDS)
            probe.connect(str(path))
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _refused(setting, str(path), error) from error
    else:
        raise ListenError(
            f"{setting}: another process listens at {path}",
            f"stop it, or name another path (--set {setting}= for none)",
        )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _refused(setting: str, where: str, error: OSError) -> ListenError:
    none = f"--set {setting}= for none"
    hints = {
        errno.EADDRINUSE: f"stop what listens there, or choose another port ({none})",
        errno.EACCES: "choose a port above 1023, or a path that this user may write to",
        errno.ENOENT: "the directory must exist; under systemd RuntimeDirectory= creates it",
        errno.EADDRNOTAVAIL: "name an address that this machine has",
    }
    hint = hints.get(error.errno or 0, f"choose another address ({none})")
    return ListenError(
        f"{setting}: cannot listen at {where}: {error.strerror or error}",
        hint,
        needs_change=_needs_change(error),
    )


def _needs_change(error: OSError) -> bool:
    # an address may be missing until the network is up; an unknown host name is a mistake, but a
    # name service that does not answer is not
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_NONAME
    return needs_change(error)
