"""Addresses of a control API: what is read, what is refused and how."""

import pytest

from poller.control.address import (
    Address,
    address_of_url,
    listening_address,
    named_address,
)
from poller.control.errors import BadAddress


@pytest.mark.parametrize(
    ("text", "base_url", "authority"),
    [
        ("http://127.0.0.1:8470", "http://127.0.0.1:8470", "127.0.0.1:8470"),
        ("http://Poller.example/", "http://poller.example", "poller.example"),
        ("https://poller.example:8443/side/", "https://poller.example:8443/side", None),
        ("http://[::1]:80", "http://[::1]", "[::1]"),
        ("unix:/run/poller/poller.sock", "http://localhost", "localhost"),
    ],
)
def test_urls(text: str, base_url: str, authority: str | None) -> None:
    """What httpx is given, and what stands in the Host header."""
    address = address_of_url(text, "--url")
    assert address.base_url == base_url
    assert authority in {None, address.authority}


@pytest.mark.parametrize("text", ["unix:/run/poller.sock", "unix:///run/poller.sock"])
def test_sockets_are_shown_as_they_are_written(text: str) -> None:
    """Both ways of writing name the same socket."""
    assert str(address_of_url(text, "--url")) == "unix:/run/poller.sock"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("127.0.0.1:8470", "write http://"),
        ("", "write http://"),
        ("ftp://127.0.0.1", "write http://"),
        ("http://", "write http://"),
        ("http://h:99999", "not a URL"),
        ("http://a b", "write http://"),
        ("http://ä.example", "write http://"),
        ("http://h/?token=hunter2", "no query"),
        ("http://h/#x", "no fragment"),
        ("http://me:hunter2@h", "POLLER_SERVER__TOKEN"),
        ("unix:relative", "absolute path"),
        ("unix:", "absolute path"),
    ],
)
def test_what_is_none(text: str, words: str) -> None:
    """The message names the option and the fix, and repeats no secret."""
    with pytest.raises(BadAddress, match=r"^--url: ") as refused:
        address_of_url(text, "--url")
    assert words in str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert refused.value.is_usage


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("127.0.0.1:8470", Address(host="127.0.0.1", port=8470)),
        ("0.0.0.0:9", Address(host="127.0.0.1", port=9)),
        ("[::]:9", Address(host="::1", port=9)),
        ("[::1]:9", Address(host="::1", port=9)),
        ("unix:/run/p.sock", Address(socket="/run/p.sock")),
        ("", None),
    ],
)
def test_where_a_daemon_listens(listen: str, expected: Address | None) -> None:
    """One that listens on all addresses is asked on this machine's own."""
    assert listening_address(listen) == expected


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "nonsense", "h:99999", "unix:x"])
def test_where_nobody_can_ask(listen: str) -> None:
    """A port that only the daemon knows is said to be one."""
    with pytest.raises(BadAddress, match=r"^server\.listen: "):
        listening_address(listen)


def test_the_first_address_wins() -> None:
    """`--url` beats `POLLER_URL`, an empty one counts as unset."""
    environ = {"POLLER_URL": "http://b"}
    assert named_address("http://a", environ) == Address(host="a")
    assert named_address(None, environ) == Address(host="b")
    assert named_address(None, {"POLLER_URL": ""}) is None
    with pytest.raises(BadAddress, match=r"^POLLER_URL: "):
        named_address(None, {"POLLER_URL": "b"})


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("http://localhost", True),
        ("http://127.8.9.1", True),
        ("https://[::1]", True),
        ("unix:/x", True),
        ("http://poller", False),
        ("http://10.0.0.1", False),
    ],
)
def test_no_proxy_leads_here(text: str, *, local: bool) -> None:
    """What is on this machine is asked directly."""
    assert address_of_url(text, "--url").is_local is local
