"""URLs and listening addresses: normalised, refused, and shown without what is secret."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from pydantic_core import PydanticCustomError

from poller.settings import MASK, TcpAddress, UnixAddress
from poller.settings.addresses import (
    check_base_url,
    check_store_url,
    check_webhook_url,
    parse_listen,
    safe_url,
    store_password,
)


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("https://comms.twilio.com/v1", "https://comms.twilio.com/v1"),
        ("HTTPS://Comms.Twilio.COM:443/v1//", "https://comms.twilio.com/v1"),
        ("http://localhost:80", "http://localhost"),
        ("http://127.0.0.1:8080/Preview/", "http://127.0.0.1:8080/Preview"),
        ("https://[2001:DB8::1]:443/v1", "https://[2001:db8::1]/v1"),
    ],
)
def test_base_url_has_one_spelling(written: str, normal: str) -> None:
    """The stored base URL does not depend on how it was typed, and normalising twice is once."""
    assert check_base_url(written) == normal
    assert check_base_url(normal) == normal


@pytest.mark.parametrize(
    "written",
    [
        "",
        "comms.twilio.com/v1",
        "ftp://comms.twilio.com",
        "https://",
        "https://user@host/v1",
        "https://user:pass@host/v1",
        "https://host/v1?",
        "https://host/v1?a=b",
        "https://host/v1#x",
        "https://ho st/v1",
        "https://host:99999/v1",
        "https://[::1/v1",
        "https://host\\@evil/v1",
    ],
)
def test_bad_base_url_is_refused(written: str) -> None:
    """User info, a query, a fragment or no http URL at all never becomes the base URL."""
    with pytest.raises(PydanticCustomError):
        check_base_url(written)


def test_webhook_url_keeps_its_query() -> None:
    """A webhook's URL stands as it is written; only user info and fragments are refused."""
    assert check_webhook_url("https://h/x?token=1") == "https://h/x?token=1"
    for bad in ("https://u:p@h/x", "https://h/x#y", "file:///etc/passwd"):
        with pytest.raises(PydanticCustomError):
            check_webhook_url(bad)


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("sqlite:///poller.db", "sqlite:///poller.db"),
        ("sqlite:////var/lib/poller/poller.db", "sqlite:////var/lib/poller/poller.db"),
        ("sqlite+pysqlite:///x.db", "sqlite:///x.db"),
        ("postgresql://u:p@h:5432/db", "postgresql+psycopg://u:p@h:5432/db"),
        ("postgresql+psycopg:///db?host=/run/pg", "postgresql+psycopg:///db?host=/run/pg"),
    ],
)
def test_store_url_says_its_driver(written: str, stored: str) -> None:
    """SQLite files and PostgreSQL databases are taken, the driver made explicit."""
    assert check_store_url(SecretStr(written)).get_secret_value() == stored


@pytest.mark.parametrize(
    "written",
    [
        "",
        "poller.db",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///file:x?mode=memory&uri=true",
        "sqlite://poller.db",
        "sqlite+aiosqlite:///x.db",
        "mysql://h/db",
        "postgresql://h",
        "postgresql://h:port/db",
    ],
)
def test_other_stores_are_refused(written: str) -> None:
    """What forgets at exit, or is no known database, is no store."""
    with pytest.raises(PydanticCustomError):
        check_store_url(SecretStr(written))


def test_store_url_shows_no_password() -> None:
    """`str`, `repr` and f-strings of a store's URL mask the password, in user info and query."""
    url = check_store_url(SecretStr("postgresql://poller:hunter2@db/x?sslpassword=hunter3"))
    for text in (str(url), repr(url), f"{url}"):
        assert "hunter" not in text
        assert "db/x" in text
    assert store_password("postgresql://poller:x@db/x")
    assert store_password("postgresql://db/x?password=x")
    assert not store_password("postgresql://poller@db:5432/x?connect_timeout=3")
    assert not store_password("sqlite:///poller.db")


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("", None),
        ("127.0.0.1:8470", TcpAddress(host="127.0.0.1", port=8470)),
        ("[::1]:0", TcpAddress(host="::1", port=0)),
        ("unix:/run/poller.sock", UnixAddress(path="/run/poller.sock")),
    ],
)
def test_listening_addresses(written: str, address: object) -> None:
    """Host and port, a unix socket, or nothing."""
    assert parse_listen(written) == address


@pytest.mark.parametrize(
    "written", ["8470", ":8470", "host", "host:x", "host:65536", "::1:80", "unix:x", "http://h:1"]
)
def test_bad_listening_addresses_are_refused(written: str) -> None:
    """Anything else is no address to listen on."""
    with pytest.raises(PydanticCustomError):
        parse_listen(written)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *((host, True) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost")),
        *((host, False) for host in ("0.0.0.0", "::", "10.0.0.1", "example.com")),
    ],
)
def test_loopback_is_known(host: str, loopback: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Only addresses that other machines cannot reach count as loopback."""
    assert TcpAddress(host=host, port=1).is_loopback is loopback


@given(
    st.text(alphabet="ab:/?#@.", max_size=20), st.sampled_from(["https://", "postgresql://", ""])
)
def test_no_password_survives_showing(around: str, scheme: str) -> None:
    """Whatever stands around it, a password before an `@` is not shown."""
    assert "hunter2" not in safe_url(f"{scheme}user{around}:hunter2@host/{around}")


def test_shown_url_says_what_was_hidden() -> None:
    """The mask stands where something was."""
    assert safe_url("https://u:p@h/x") == f"https://u:{MASK}@h/x"
    assert safe_url("https://h/x?t=1#f") == f"https://h/x?{MASK}"
    assert safe_url("https://h/x") == "https://h/x"
