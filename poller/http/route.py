"""The route of a request: directly, or through the proxy that the environment names.

Pure and cheap to import: the health check runs every few seconds.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Self
from urllib.parse import urlsplit

from poller.addresses import LAST_PORT, Unusable, host_and_port, join_host, split_web_url

_DIRECT: Final = "or name the host of the URL in NO_PROXY"
_NO_PROXY_FIX: Final = (
    "write hosts (example.com, with all below it), addresses, networks (10.0.0.0/8, fd00::/8), "
    "host:port, or * for all, with commas between"
)
_NAME: Final = re.compile(r"(?:\*?\.)?([a-z0-9_-]+(?:\.[a-z0-9_-]+)*)\.?")
_LONGEST_QUOTE: Final = 60

Network = IPv4Network | IPv6Network


class EgressError(ValueError):
    """A proxy or certificate variable that cannot be used: `message` names it, `fix` the remedy."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(f"{message}; {fix}")
        self.message = message
        self.fix = fix


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """An HTTP proxy: `variable` is the one that names it, `url` may hold a password."""

    variable: str
    url: str = field(repr=False)

    @property
    def scheme(self) -> str:
        """The scheme of the connection to it: http or https."""
        return urlsplit(self.url).scheme

    @property
    def host(self) -> str:
        """Its name or IP address."""
        return host_and_port(urlsplit(self.url))[0]

    @property
    def address(self) -> str:
        """Host and port, without credentials."""
        return join_host(*host_and_port(urlsplit(self.url)))

    @property
    def has_credentials(self) -> bool:
        """Whether a user name is sent to it."""
        return bool(urlsplit(self.url).username)

    def __str__(self) -> str:
        return f"the proxy {self.address} ({self.variable})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where requests go, and through which proxy or unix socket (`socket` is its path)."""

    scheme: str
    host: str
    port: int
    proxy: Proxy | None = None
    socket: str | None = None

    @classmethod
    def direct(cls, url: str) -> Self:
        """Return the route to an http(s) URL without a proxy."""
        parts = urlsplit(url)
        host, port = host_and_port(parts)
        return cls(scheme=parts.scheme, host=host, port=port)

    @property
    def target(self) -> str:
        """The server as messages name it: host and port, or the path of its socket."""
        return self.socket or join_host(self.host, self.port)

    @property
    def peer(self) -> str:
        """The host that the connection goes to: the proxy where there is one, else the server."""
        return self.target if self.proxy is None else str(self.proxy)


def find_route(url: str, environ: Mapping[str, str]) -> Route:
    """Return the route to an http(s) URL according to the proxy variables of `environ`.

    `https_proxy` or `http_proxy`, else `all_proxy` names the proxy; `no_proxy` names what is
    reached without one. A variable in lower case takes precedence over the same one in upper case,
    even if it is empty.

    :raises EgressError: if one of the variables for this URL cannot be used. The message does not
        repeat the address of a proxy, which may contain a password.
    """
    route = Route.direct(url)
    found = _variable(f"{route.scheme}_proxy", environ) or _variable("all_proxy", environ)
    if found is None or _is_exempt(route, environ):
        return route
    return Route(scheme=route.scheme, host=route.host, port=route.port, proxy=_read_proxy(*found))


def _variable(name: str, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the spelling of the variable that is set, and its value; None where it is empty."""
    for spelling in (name, name.upper()):
        if spelling in environ:
            value = environ[spelling].strip()
            return (spelling, value) if value else None
    return None


def _read_proxy(variable: str, text: str) -> Proxy:
    url = text if "://" in text else f"http://{text}"
    scheme = url.partition("://")[0].lower()
    fix = f"write it as http://host:port, {_DIRECT}"
    if scheme.startswith("socks"):
        raise EgressError(
            f"{variable} names a SOCKS proxy, which is not supported; only HTTP proxies are", fix
        )
    try:
        split_web_url(url, fix=fix, may_hold_user=True)
    except Unusable as error:
        raise EgressError(f"{variable} does not hold the address of an HTTP proxy", fix) from error
    return Proxy(variable=variable, url=url)


def _is_exempt(route: Route, environ: Mapping[str, str]) -> bool:
    found = _variable("no_proxy", environ)
    if found is None:
        return False
    variable, text = found
    # every entry is checked, so that a bad one is found even after a match
    matches = [_matches(entry, route, variable) for entry in re.split(r"[\s,]+", text) if entry]
    return any(matches)


def _matches(entry: str, route: Route, variable: str) -> bool:
    """Whether one entry of `no_proxy` matches the target of `route`."""
    if entry == "*":
        return True
    text = entry.lower()
    if "/" in text:
        network = _read_network(text, strict=False)
        if network is None:
            raise _bad_entry(variable, entry)
        return _is_within(route.host, network)
    host, port = _split_port(text)
    if port is not None and not (port.isdecimal() and 0 < int(port) <= LAST_PORT):
        raise _bad_entry(variable, entry)
    is_port = port is None or int(port) == route.port
    if (address := _read_network(host)) is not None:
        return is_port and _is_within(route.host, address)
    name = _NAME.fullmatch(host)
    if name is None or host.replace(".", "").isdecimal():  # 10.0.0 is neither name nor address
        raise _bad_entry(variable, entry)
    target = route.host.removesuffix(".")
    return is_port and (target == name[1] or target.endswith(f".{name[1]}"))


def _split_port(text: str) -> tuple[str, str | None]:
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, rest.removeprefix(":") if rest else None
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, port
    return text, None


def _read_network(text: str, *, strict: bool = True) -> Network | None:
    try:
        return ip_network(text, strict=strict)
    except ValueError:
        return None


def _is_within(host: str, network: Network) -> bool:
    """Whether `host` is an address of the network; names are not looked up."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address in network or address.ipv4_mapped in network
    return address in network


def _bad_entry(variable: str, entry: str) -> EgressError:
    shown = "an entry" if "@" in entry else f"{entry[:_LONGEST_QUOTE]!r}"
    return EgressError(f"{variable} holds {shown}, which cannot be understood", _NO_PROXY_FIX)
