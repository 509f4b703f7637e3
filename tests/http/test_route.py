"""Which way a request takes: the proxy variables, and what is reached without a proxy."""

import pytest

from poller.http.route import EgressError, Route, find_route

URL = "https://comms.example/v1"
HTTP_PROXY = "http://proxy:3128"


def found(url: str, **environ: str) -> tuple[str, str] | None:
    """Return variable and address of the proxy on the way to `url`."""
    proxy = find_route(url, environ).proxy
    return None if proxy is None else (proxy.variable, proxy.url)


@pytest.mark.parametrize(
    ("url", "environ", "variable"),
    [
        (URL, {}, None),
        (URL, {"HTTPS_PROXY": HTTP_PROXY}, "HTTPS_PROXY"),
        (URL, {"https_proxy": HTTP_PROXY}, "https_proxy"),
        (URL, {"https_proxy": HTTP_PROXY, "HTTPS_PROXY": "http://other"}, "https_proxy"),
        (URL, {"https_proxy": "", "HTTPS_PROXY": HTTP_PROXY}, None),
        (URL, {"HTTPS_PROXY": "", "ALL_PROXY": HTTP_PROXY}, "ALL_PROXY"),
        (URL, {"HTTPS_PROXY": HTTP_PROXY, "ALL_PROXY": "http://other"}, "HTTPS_PROXY"),
        (URL, {"HTTP_PROXY": HTTP_PROXY}, None),
        ("http://127.0.0.1:80", {"HTTP_PROXY": HTTP_PROXY}, "HTTP_PROXY"),
    ],
)
def test_the_proxy_is_that_of_the_scheme(
    url: str, environ: dict[str, str], variable: str | None
) -> None:
    """A variable in lower case goes before the one in upper case, even to switch it off."""
    assert found(url, **environ) == (None if variable is None else (variable, HTTP_PROXY))


@pytest.mark.parametrize(
    ("exempt", "url", "is_exempt"),
    [
        ("*", URL, True),
        ("comms.example", URL, True),
        ("COMMS.example.", URL, True),
        ("example", URL, True),
        (".example", URL, True),
        ("*.example", URL, True),
        ("ms.example", URL, False),
        ("other, comms.example:443", URL, True),
        ("other comms.example", URL, True),
        ("comms.example:8443", URL, False),
        ("comms.example:8443", "https://comms.example:8443", True),
        ("api.comms.example", URL, False),
        ("127.0.0.1,::1", "https://127.0.0.1:8470/v1", True),
        ("127.0.0.1,::1", "https://[::1]:8470/v1", True),
        ("127.0.0.1,::1", "https://127.0.0.2:8470/v1", False),
        ("127.0.0.1:8470", "https://127.0.0.1:8470/v1", True),
        ("127.0.0.1:8470", "https://127.0.0.1/v1", False),
        ("[::1]:8470,[fd00::1]", "https://[::1]:8470", True),
        ("[::1]:8470,[fd00::1]", "https://[::1]", False),
        ("[::1]:8470,[fd00::1]", "https://[fd00::1]", True),
        ("127.0.0.0/8", "https://127.9.9.9", True),
        ("10.1.2.3/8", "https://10.200.0.1", True),
        ("10.0.0.0/8", "https://11.0.0.1", False),
        ("10.0.0.0/8", "https://10.example", False),
        ("10.0.0.0/8", "https://[::ffff:10.0.0.1]", True),
        ("fd00::/8", "https://[fd12::1]", True),
        ("fd00::/8", "https://[fe80::1]", False),
    ],
)
def test_no_proxy(exempt: str, url: str, is_exempt: bool) -> None:  # noqa: FBT001 - a column
    """Hosts with all below them, addresses, networks, ports; names are not looked up."""
    assert (found(url, HTTPS_PROXY=HTTP_PROXY, NO_PROXY=exempt) is None) == is_exempt
    assert find_route(url, {"HTTPS_PROXY": HTTP_PROXY, "NO_PROXY": exempt}).target


@pytest.mark.parametrize(
    "entry",
    ["10.0.0.0/33", "10.0.0", "10.*", "host:port", "host:0", "a/b", "http://host", "<local>"],
)
def test_an_entry_that_means_nothing_is_refused(entry: str) -> None:
    """Silently ignored, it would send requests through a proxy that were to go directly."""
    environ = {"https_proxy": HTTP_PROXY, "no_proxy": f"*,{entry}"}
    with pytest.raises(EgressError, match="no_proxy holds") as refused:
        find_route(URL, environ)
    assert entry in refused.value.message
    assert "10.0.0.0/8" in refused.value.fix
    # without a proxy it means nothing anyway
    assert find_route(URL, {"no_proxy": entry}) == Route.direct(URL)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ftp://user:sesame@proxy", "does not hold the address of an HTTP proxy"),
        ("http://user:sesame@", "does not hold the address of an HTTP proxy"),
        ("http://user:sesame@proxy:99999", "does not hold the address of an HTTP proxy"),
        ("socks5://user:sesame@proxy:1080", "a SOCKS proxy, which is not supported"),
        ("socks4a://user:sesame@proxy", "a SOCKS proxy, which is not supported"),
    ],
)
def test_a_bad_proxy_is_named_but_not_repeated(address: str, said: str) -> None:
    """It may hold a password; what is supported is said."""
    with pytest.raises(EgressError, match=said) as refused:
        find_route(URL, {"all_proxy": address})
    assert "sesame" not in str(refused.value)
    assert str(refused.value).startswith("all_proxy ")
    assert "http://host:port" in refused.value.fix


def test_a_proxy_is_shown_without_its_password() -> None:
    """By its address and the variable that names it."""
    proxy = find_route(URL, {"HTTPS_PROXY": "me:sesame@[fd00::1]:3128"}).proxy
    assert str(proxy) == "the proxy [fd00::1]:3128 (HTTPS_PROXY)"
    assert "sesame" not in repr(proxy)
