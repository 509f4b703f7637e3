"""The addresses that settings hold: the API's base, webhooks, the store, where to listen.

What is shown of an address holds no password and no values of a query.
"""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

from pydantic import SecretStr

from poller.addresses import is_loopback
from poller.settings.errors import as_fault, fault
from poller.sinks.receiver import check_url, split_web_url

MASK: Final = "**********"
"""What stands in place of a secret wherever settings are shown."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_STORE_SCHEMES: Final = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
_STORE_FIX: Final = (
    "write sqlite:///relative.db, sqlite:////absolute.db or postgresql://user@host/database"
)
_MAX_UNIX_PATH: Final = 107  # sun_path of Linux, less its closing NUL


class StoreUrl(SecretStr):
    """A database URL: `get_secret_value()` is the whole of it, everything else hides a password."""

    def _display(self) -> str:
        return safe_url(self.get_secret_value())


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpAddress:
    """Where to listen: a host name or address (IPv6 without brackets), a port, 0 for any."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnixAddress:
    """Where to listen: the absolute path of a unix socket."""

    path: str


def safe_url(text: str) -> str:
    """Return a URL, good or bad, with its password and all after `?` or `#` masked.

    Whatever stands before the last `@` is taken for user info: rather too much hidden than too
    little, since a bad URL is shown in the message that refuses it.
    """
    scheme, found, rest = text.partition("://")
    if not found:
        scheme, rest = "", text
    user_info, at, place = rest.rpartition("@")
    user = re.match(r"[\w.-]+(?=:)", user_info)
    who = f"{user[0]}:{MASK}@" if user else f"{MASK}@" if at else ""
    tail = re.search(r"[?#]", place)
    return scheme + found + who + (place[: tail.end()] + MASK if tail else place)


def check_base_url(text: str) -> str:
    """Return the API's base URL as it is stored: lower-case host, no default port, no end slash.

    :raises PydanticCustomError: if it is no http(s) URL, or holds user info, a query, a fragment.
    """
    fix = "write it like https://comms.twilio.com/v1"
    with as_fault():
        parts = split_web_url(text, fix=fix)
    if "?" in text or "#" in text:
        raise fault("a base URL has no query and no fragment", fix)
    return f"{parts.scheme}://{_authority(parts)}{parts.path.rstrip('/')}"


def check_webhook_url(text: str) -> str:
    """Return the URL as it stands.

    :raises PydanticCustomError: if it is no http(s) URL, or holds user info or a fragment.
    """
    with as_fault():
        check_url(text)
    return text


def check_store_url(value: SecretStr) -> StoreUrl:
    """Return the store's URL with its driver said.

    :raises PydanticCustomError: if it is neither a SQLite file nor a PostgreSQL database.
    """
    text = value.get_secret_value().strip()
    scheme, found, rest = text.partition("://")
    if not found or scheme not in _STORE_SCHEMES:
        raise fault("not a store that the poller knows", _STORE_FIX)
    if scheme.startswith("sqlite"):
        _check_sqlite(rest)
    else:
        _check_postgresql(text)
    return StoreUrl(f"{_STORE_SCHEMES[scheme]}://{rest}")


def store_password(text: str) -> bool:
    """Whether a database URL holds a password, in its user info or its query."""
    user_info = text.partition("://")[2].rpartition("@")[0]
    query = parse_qsl(text.partition("?")[2])
    return ":" in user_info or any("password" in key.lower() for key, _ in query)


def parse_listen(text: str) -> TcpAddress | UnixAddress | None:
    """Return the address in `host:port`, `[ipv6]:port` or `unix:/path`, None for the empty text.

    :raises PydanticCustomError: if it is anything else.
    """
    fix = 'write "127.0.0.1:8470", "unix:/run/poller/poller.sock", or "" for none'
    if not text:
        return None
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if (
            not path.startswith("/")
            or not path.isprintable()
            or len(path.encode()) > _MAX_UNIX_PATH
        ):
            raise fault(f"a unix socket is an absolute path of up to {_MAX_UNIX_PATH} bytes", fix)
        return UnixAddress(path=path)
    written = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})", text, re.ASCII)
    if written is None or int(written[2]) > 65535:  # noqa: PLR2004 - the last port there is
        raise fault("not an address to listen on", fix)
    return TcpAddress(host=written[1].strip("[]"), port=int(written[2]))


def check_listen(text: str) -> str:
    """Return the address as it stands.

    :raises PydanticCustomError: if it cannot be listened on.
    """
    parse_listen(text)
    return text


def _authority(parts: SplitResult) -> str:
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    default = parts.port in {None, _DEFAULT_PORTS[parts.scheme]}
    return host if default else f"{host}:{parts.port}"


def _check_sqlite(rest: str) -> None:
    path = rest.partition("?")[0]
    if not path.startswith("/") or path.startswith(("/:memory:", "/file:")) or path.endswith("/"):
        raise fault("a SQLite store is a file, so that it outlives the process", _STORE_FIX)


def _check_postgresql(text: str) -> None:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise fault("not a URL", _STORE_FIX) from None
    if not parts.path.strip("/"):
        raise fault("names no database", _STORE_FIX)
