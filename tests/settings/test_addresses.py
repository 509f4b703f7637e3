"""URLs in settings: refused with a fix, and shown without what is secret."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from pydantic_core import PydanticCustomError

from poller.addresses import safe_url, safe_webhook_url
from poller.settings import MASK
from poller.settings.addresses import (
    check_store_url,
    check_webhook_url,
    normal_url,
    store_password,
)

API_URL = normal_url("https://comms.twilio.com/v1")


def test_a_bad_base_url_is_a_fault_of_the_setting() -> None:
    """Which names the remedy."""
    assert API_URL("HTTPS://Host:443/v1/") == "https://host/v1"
    with pytest.raises(PydanticCustomError, match="no query") as refused:
        API_URL("https://host/v1?a=b")
    assert refused.value.context is not None
    assert refused.value.context["fix"].startswith("write it like")


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
        "postgresql://u:p@ss@h/db",
        "postgresql://u:12/34@h/db",
        "postgresql://u:12?34@h/db",
        "postgresql://u:12#34@h/db",
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


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("https://h", "https://h"),
        ("http://127.0.0.1:9/", "http://127.0.0.1:9/"),
        ("https://h/services/T0/hunter2", f"https://h/{MASK}"),
        ("http://[::1]:9?hunter2", f"http://[::1]:9/{MASK}"),
        ("https://h/x#hunter2", f"https://h/{MASK}"),
        ("https://h:99999/hunter2", f"https://h:99999/{MASK}"),
        ("HTTPS://h/hunter2@x/y", f"HTTPS://h/{MASK}"),
    ],
)
def test_of_a_webhook_only_the_origin_is_shown(written: str, shown: str) -> None:
    """Its path is a secret: that of Slack is one as a whole."""
    assert safe_webhook_url(written) == shown


@pytest.mark.parametrize(
    "written",
    [
        "",
        "h/hunter2",
        " https://h/hunter2",
        "https:/h/hunter2",
        "https://h:port/hunter2",
        "https://me:hunter2@h/x",
        "https://me:2/hunter2@h/x",
        "https://hunter2@h",
        "https://h\\hunter2",
        "https://h hunter2",
        "https://h\nhunter2",
        "ftp://h/hunter2",
    ],
)
def test_without_an_origin_nothing_is_shown(written: str) -> None:
    """What cannot be read as a URL could be secret from its first character on."""
    assert safe_webhook_url(written) == MASK
