"""Where a control API is to be had: read from `--url`, `POLLER_URL` or `server.listen`.

Imports next to nothing: a health check runs every few seconds, and settings are slow to load.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit

from poller.addresses import is_loopback
from poller.cli.control.errors import BadAddress
from poller.http.route import Route

__all__ = ["VARIABLE", "Address", "address_of_url", "listening_address", "told_address"]

VARIABLE: Final = "POLLER_URL"

_PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443}
_LAST_PORT: Final = 65_535
_UNIX: Final = "unix:"
_FIX: Final = "write http://host:port, https://host:port or unix:/path"
# who listens on all addresses is reached on this machine's own
_EVERYWHERE: Final[Mapping[str, str]] = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - see above


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A port of a host (IPv6 without brackets), or the path of a unix `socket`.

    `prefix` is what stands before the paths of the API, without a slash at its end.
    """

    scheme: str = "http"
    host: str = "localhost"
    port: int = 80
    prefix: str = ""
    socket: str | None = None

    def __str__(self) -> str:
        return f"{_UNIX}{self.socket}" if self.socket is not None else self.base_url

    @property
    def authority(self) -> str:
        """What a request carries as its Host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def base_url(self) -> str:
        """What the paths of the API are added to."""
        return f"{self.scheme}://{self.authority}{self.prefix}"

    @property
    def route(self) -> Route:
        """The way there without a proxy."""
        return Route(scheme=self.scheme, host=self.host, port=self.port, socket=self.socket)

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine, where no proxy leads to."""
        return self.socket is not None or is_loopback(self.host)


def told_address(url: str | None, environ: Mapping[str, str]) -> Address | None:
    """Return what `--url` says, else `POLLER_URL`; None where neither says anything.

    :raises BadAddress: where it cannot be used.
    """
    if url is not None:
        return address_of_url(url, "--url")
    told = environ.get(VARIABLE)
    return address_of_url(told, VARIABLE) if told else None


def address_of_url(text: str, option: str) -> Address:
    """Read `http://…`, `https://…` or `unix:/path`; `option` is named in errors.

    :raises BadAddress: where it is none of them, or holds user info, a query or a fragment.
    """
    if text.startswith(_UNIX):
        return _socket(text, option)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise BadAddress(f"{option}: not a URL; {_FIX}") from None
    if "@" in parts.netloc:
        raise BadAddress(f"{option}: a URL with user info is refused; set POLLER_SERVER__TOKEN")
    if parts.scheme not in _PORTS or not parts.hostname or not _is_plain(text):
        raise BadAddress(f"{option}: {text[:80]!r} is no address of a control API; {_FIX}")
    if "?" in text or "#" in text:
        raise BadAddress(f"{option}: the URL has no query and no fragment; {_FIX}")
    return Address(
        scheme=parts.scheme,
        host=parts.hostname,
        port=_PORTS[parts.scheme] if port is None else port,
        prefix=quote(parts.path.rstrip("/"), safe="/%"),
    )


def listening_address(listen: str, setting: str = "server.listen") -> Address | None:
    """Return where to ask a daemon that listens at `listen`; None where it listens nowhere.

    :raises BadAddress: where it is no address, or one that only the daemon knows.
    """
    if not listen:
        return None
    if listen.startswith(_UNIX):
        return _socket(listen, setting)
    host, _, port = listen.rpartition(":")
    if not host or not _is_plain(host) or not port.isdecimal() or int(port) > _LAST_PORT:
        raise BadAddress(f"{setting}: {listen[:80]!r} is not an address; write 127.0.0.1:8470")
    if int(port) == 0:
        raise BadAddress(
            f"{setting}: it says port 0, which is any port; name with --url the one that the "
            "daemon logs as server.listening"
        )
    host = host.strip("[]")
    return Address(host=_EVERYWHERE.get(host, host), port=int(port))


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and not set(text) & set(' \\<>"')


def _socket(text: str, option: str) -> Address:
    # unix:/path and, as some write it, unix:///path
    path = "/" + text.removeprefix(_UNIX).lstrip("/")
    if path == "/" or not text.startswith(f"{_UNIX}/") or "\0" in path:
        raise BadAddress(f"{option}: a unix socket is an absolute path; write unix:/path")
    return Address(socket=path)
