"""The addresses in settings: the API's base URL, webhooks, the store, where to listen.

When one is shown, its password and its query are masked; of a webhook only the origin is shown.
"""

from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from pydantic import SecretStr

from poller.addresses import check_base_url, parse_listen, safe_url
from poller.settings.errors import as_fault, fault
from poller.sinks.receiver import check_url

_STORE_SCHEMES: Final = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
_STORE_FIX: Final = (
    "write sqlite:///relative.db, sqlite:////absolute.db or postgresql://user@host/database"
)
_POSTGRESQL_FIX: Final = (
    "write postgresql://user:password@host:5432/database, with special characters of user and "
    "password percent-encoded (@ is %40, / is %2F, # is %23, ? is %3F, % is %25)"
)
_RESERVED: Final = frozenset("/@#[]")
"""Characters that end the user info of a URL, or the URL itself."""


class StoreUrl(SecretStr):
    """A database URL: `get_secret_value()` returns all of it; otherwise its password is masked."""

    def _display(self) -> str:
        return safe_url(self.get_secret_value())


def normal_url(example: str, *, may_be_empty: bool = False) -> Callable[[str], str]:
    """Return a validator that returns a URL in normal form.

    The validator raises `PydanticCustomError`, which shows `example`, where the text is no http(s)
    URL, or has user info, a query or a fragment.
    """

    def check(text: str) -> str:
        if may_be_empty and not text:
            return text
        with as_fault():
            return check_base_url(text, example=example)

    return check


def check_webhook_url(text: str) -> str:
    """Return the URL unchanged.

    :raises PydanticCustomError: if it is no http(s) URL, or has user info or a fragment.
    """
    with as_fault():
        check_url(text)
    return text


def check_store_url(value: SecretStr) -> StoreUrl:
    """Return the store's URL with its driver.

    :raises PydanticCustomError: if it is neither a SQLite file nor a PostgreSQL database.
    """
    text = value.get_secret_value().strip()
    scheme, found, rest = text.partition("://")
    if not found or scheme not in _STORE_SCHEMES:
        raise fault("neither SQLite nor PostgreSQL", _STORE_FIX)
    if scheme.startswith("sqlite"):
        _check_sqlite(rest)
    else:
        _check_postgresql(text)
    return StoreUrl(f"{_STORE_SCHEMES[scheme]}://{rest}")


def store_password(text: str) -> bool:
    """Whether a database URL contains a password, in its user info or its query."""
    user_info = text.partition("://")[2].rpartition("@")[0]
    query = parse_qsl(text.partition("?")[2])
    return ":" in user_info or any("password" in key.lower() for key, _ in query)


def check_listen(text: str) -> str:
    """Return the address unchanged.

    :raises PydanticCustomError: if it is not an address to listen on.
    """
    with as_fault():
        parse_listen(text)
    return text


def _check_sqlite(rest: str) -> None:
    path = rest.partition("?")[0]
    if not path.startswith("/") or path.startswith(("/:memory:", "/file:")) or path.endswith("/"):
        raise fault("a SQLite store must be a file, so that it outlives the process", _STORE_FIX)


def _check_postgresql(text: str) -> None:
    place = text.partition("://")[2].partition("?")[0]
    # other readers of this URL would take a part of the password for the host, and show it
    if not _RESERVED.isdisjoint(place.rpartition("@")[0]):
        raise fault("its user or password has a special character", _POSTGRESQL_FIX)
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise fault("not a URL", _POSTGRESQL_FIX) from None
    if not parts.path.strip("/"):
        raise fault("has no name of a database", _POSTGRESQL_FIX)
