"""Addresses that users write: normalised, or refused."""

from pathlib import Path

import pytest

from poller.addresses import TcpAddress, UnixAddress, Unusable, check_base_url, parse_listen


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
    with pytest.raises(Unusable):
        check_base_url(written)


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("", None),
        ("127.0.0.1:8470", TcpAddress(host="127.0.0.1", port=8470)),
        ("[::1]:0", TcpAddress(host="::1", port=0)),
        ("unix:///run/poller.sock", UnixAddress(path=Path("/run/poller.sock"))),
        ("unix:/run/poller.sock", UnixAddress(path=Path("/run/poller.sock"))),
    ],
)
def test_listening_addresses(written: str, address: object) -> None:
    """Host and port, a unix socket, or nothing."""
    assert parse_listen(written) == address


@pytest.mark.parametrize(
    "written",
    [
        "8470",
        ":8470",
        "host",
        "host:x",
        "host:65536",
        "::1:80",
        "unix:x",
        "unix:/",
        f"unix:/{'x' * 108}",
        "http://h:1",
    ],
)
def test_bad_listening_addresses_are_refused(written: str) -> None:
    """Anything else is no address to listen on."""
    with pytest.raises(Unusable):
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
