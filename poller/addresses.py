"""Addresses that users write: http(s) URLs, and where to listen. Pure, and cheap to import.

Settings, sinks, server and clients all use these functions, so that each address is checked in one
way. No message repeats an address, since it may contain a password; `safe_url` and
`safe_webhook_url` return what may be shown.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

MASK: Final = "**********"
"""The replacement for a secret wherever an address or a setting is shown."""

DEFAULT_PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443}
LAST_PORT: Final = 65_535

_UNIX: Final = "unix:"
_LONGEST_UNIX_PATH: Final = 107  # bytes: sun_path of Linux, less its closing NUL
_UNSAFE: Final = re.compile(r"[\x00-\x20\x7f\\]")
_HOST_AND_PORT: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})", re.ASCII)
_ORIGIN: Final = re.compile(
    r"https?://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5}(?!.*@))?(?=[/?#]|\Z)",
    re.ASCII | re.IGNORECASE | re.DOTALL,
)
_LISTEN_FIX: Final = 'write "127.0.0.1:8470", "unix:/run/poller/poller.sock", or "" for none'
_API_URL: Final = "https://comms.twilio.com/v1"


class Unusable(ValueError):
    """An address that cannot be used: `what` is the fault, `fix` the remedy.

    Neither repeats the address, since it may contain a secret.
    """

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(f"{what}: {fix}")
        self.what = what
        self.fix = fix


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpAddress:
    """Where to listen: a host name or address (IPv6 without brackets), a port, 0 for any."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    def __str__(self) -> str:
        return join_host(self.host, self.port)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnixAddress:
    """Where to listen: the absolute path of a unix socket."""

    path: Path

    def __str__(self) -> str:
        return f"{_UNIX}{self.path}"


ListenAddress = TcpAddress | UnixAddress


def is_loopback(host: str) -> bool:
    """Whether a host, by name or IP address (IPv6 without brackets), is this machine itself."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def join_host(host: str, port: int | None) -> str:
    """Write host and port as a URL does: IPv6 in brackets, no port where it is None."""
    shown = f"[{host}]" if ":" in host else host
    return shown if port is None else f"{shown}:{port}"


def host_and_port(parts: SplitResult) -> tuple[str, int]:
    """Return the host of a URL in lower case, and its port or that of its scheme."""
    port = DEFAULT_PORTS.get(parts.scheme, 0) if parts.port is None else parts.port
    return (parts.hostname or "").lower(), port


def split_web_url(url: str, *, fix: str, may_hold_user: bool = False) -> SplitResult:
    """Split an http(s) URL; `fix` is what to write in place of a bad one.

    :raises Unusable: if it is not an http(s) URL, or holds user info where it may not.
    """
    if not url.isascii() or _UNSAFE.search(url):
        raise Unusable("a URL has no spaces, control or other special characters", fix)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise Unusable("not a URL", fix) from None
    if parts.scheme not in DEFAULT_PORTS or not host or port == 0:
        raise Unusable("not an http or https URL", fix)
    if "@" in parts.netloc and not may_hold_user:
        raise Unusable("a URL with user info is refused, it would show up in logs", fix)
    return parts


def safe_url(text: str) -> str:
    """Return a URL, valid or not, with its password and all after `?` or `#` masked.

    Everything before the last `@` counts as user info: messages show invalid URLs, so it is better
    to hide too much than too little.
    """
    scheme, found, rest = text.partition("://")
    if not found:
        scheme, rest = "", text
    user_info, at, place = rest.rpartition("@")
    user = re.match(r"[\w.-]+(?=:)", user_info)
    who = f"{user[0]}:{MASK}@" if user else f"{MASK}@" if at else ""
    tail = re.search(r"[?#]", place)
    return scheme + found + who + (place[: tail.end()] + MASK if tail else place)


def safe_webhook_url(text: str) -> str:
    """Return the origin of a webhook's URL and a mask for the rest, which is a secret.

    Return only the mask where no origin can be read, as in a URL with user info. A URL that is only
    an origin is returned unchanged.
    """
    origin = _ORIGIN.match(text)
    if origin is None:
        return MASK
    return text if text[origin.end() :] in {"", "/"} else f"{origin[0]}/{MASK}"


def check_base_url(text: str, *, example: str = _API_URL) -> str:
    """Return a base URL as it is stored: lower-case host, no default port, no end slash.

    `example` is the good one that an error shows.

    :raises Unusable: if it is not an http(s) URL, or holds user info, a query or a fragment.
    """
    fix = f"write it like {example}"
    parts = split_web_url(text, fix=fix)
    if "?" in text or "#" in text:
        raise Unusable("this URL must have no query and no fragment", fix)
    host, port = host_and_port(parts)
    shown = join_host(host, None if port == DEFAULT_PORTS[parts.scheme] else port)
    return f"{parts.scheme}://{shown}{parts.path.rstrip('/')}"


def parse_listen(text: str) -> ListenAddress | None:
    """Return the address in `host:port`, `[ipv6]:port` or `unix:/path`, None for the empty text.

    :raises Unusable: if it is anything else.
    """
    if not text:
        return None
    if is_unix(text):
        return parse_unix(text, fix=_LISTEN_FIX)
    written = _HOST_AND_PORT.fullmatch(text)
    if written is None or int(written[2]) > LAST_PORT:
        raise Unusable("not an address to listen on", _LISTEN_FIX)
    return TcpAddress(host=written[1].strip("[]"), port=int(written[2]))


def is_unix(text: str) -> bool:
    """Whether an address names a unix socket."""
    return text.startswith(_UNIX)


def parse_unix(text: str, *, fix: str) -> UnixAddress:
    """Return the socket in `unix:/path`, or `unix:///path` as some write it.

    :raises Unusable: if its path is relative, too long for a socket, or not printable.
    """
    path = text.removeprefix(_UNIX)
    is_good = path.startswith("/") and path.strip("/") and path.isprintable()
    if not is_good or len(path.encode()) > _LONGEST_UNIX_PATH:
        raise Unusable(
            f"a unix socket is an absolute path of up to {_LONGEST_UNIX_PATH} bytes", fix
        )
    return UnixAddress(path=Path("/" + path.lstrip("/")))
