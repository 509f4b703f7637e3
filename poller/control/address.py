"""The address of a control API, from `--url`, `POLLER_URL` or `server.listen`.

Imports little: a health check runs every few seconds, and settings are slow to load.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from poller.addresses import (
    DEFAULT_PORTS,
    TcpAddress,
    Unusable,
    host_and_port,
    is_loopback,
    is_unix,
    join_host,
    parse_listen,
    parse_unix,
    split_web_url,
)
from poller.control.errors import BadAddress
from poller.http.route import Route

VARIABLE: Final = "POLLER_URL"

_FIX: Final = "write http://host:port, https://host:port or unix:/path"
# a daemon that listens on all addresses is reached on the loopback address
_EVERYWHERE: Final[Mapping[str, str]] = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - see above


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A port of a host (IPv6 without brackets), or the path of a unix `socket`.

    `prefix` precedes the paths of the API; it has no slash at its end.
    """

    scheme: str = "http"
    host: str = "localhost"
    port: int = 80
    prefix: str = ""
    socket: str | None = None

    def __str__(self) -> str:
        return f"unix:{self.socket}" if self.socket is not None else self.base_url

    @property
    def authority(self) -> str:
        """The Host header of a request."""
        is_default = self.port == DEFAULT_PORTS[self.scheme]
        return join_host(self.host, None if is_default else self.port)

    @property
    def base_url(self) -> str:
        """The URL to which the paths of the API are appended."""
        return f"{self.scheme}://{self.authority}{self.prefix}"

    @property
    def route(self) -> Route:
        """The route without a proxy."""
        return Route(scheme=self.scheme, host=self.host, port=self.port, socket=self.socket)

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine, and so not reached through a proxy."""
        return self.socket is not None or is_loopback(self.host)


def named_address(url: str | None, environ: Mapping[str, str]) -> Address | None:
    """Return the address in `--url`, else in `POLLER_URL`; None where neither is set.

    :raises BadAddress: where it cannot be used.
    """
    if url is not None:
        return address_of_url(url, "--url")
    url = environ.get(VARIABLE)
    return address_of_url(url, VARIABLE) if url else None


def address_of_url(text: str, option: str) -> Address:
    """Read `http://…`, `https://…` or `unix:/path`; `option` is named in errors.

    :raises BadAddress: where it is something else, or holds user info, a query or a fragment.
    """
    try:
        if is_unix(text):
            return Address(socket=str(parse_unix(text, fix="write unix:/path").path))
        parts = split_web_url(text, fix=_FIX, may_hold_user=True)
    except Unusable as error:
        raise BadAddress(f"{option}: {error.what}; {error.fix}") from None
    if "@" in parts.netloc:
        raise BadAddress(f"{option}: a URL with user info is refused; set POLLER_SERVER__TOKEN")
    if "?" in text or "#" in text:
        raise BadAddress(f"{option}: the URL has no query and no fragment; {_FIX}")
    host, port = host_and_port(parts)
    return Address(
        scheme=parts.scheme,
        host=host,
        port=port,
        prefix=quote(parts.path.rstrip("/"), safe="/%"),
    )


def listening_address(listen: str, setting: str = "server.listen") -> Address | None:
    """Return the address of a daemon that listens at `listen`; None if that is empty.

    :raises BadAddress: where it is no address, or has port 0, which the daemon resolves.
    """
    try:
        place = parse_listen(listen)
    except Unusable as error:
        raise BadAddress(f"{setting}: {error.what}; {error.fix}") from None
    if place is None:
        return None
    if not isinstance(place, TcpAddress):
        return Address(socket=str(place.path))
    if place.port == 0:
        raise BadAddress(
            f"{setting}: port 0 means any free port; name with --url the address that the daemon "
            "logs as server.listening"
        )
    return Address(host=_EVERYWHERE.get(place.host, place.host), port=place.port)
