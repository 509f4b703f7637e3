"""How requests leave: the proxy and certificate variables, and the connections."""

from pathlib import Path

import anyio
import httpx
import pytest

from poller.http import EgressError, Lanes, open_transport, proxy_for, tls_context

LOCALHOST = Path(__file__).parent / "comms" / "localhost.pem"
VARIABLES = "HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY SSL_CERT_FILE SSL_CERT_DIR".split()
URL = "https://comms.example/v1"


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def test_without_variables_the_way_is_direct() -> None:
    """And the bundled roots are trusted."""
    assert proxy_for(URL) is None
    assert len(tls_context().get_ca_certs()) > 50


@pytest.mark.parametrize(
    ("variable", "address", "url", "proxy"),
    [
        ("HTTPS_PROXY", "http://proxy:3128", URL, "http://proxy:3128"),
        ("https_proxy", "http://proxy:3128", URL, "http://proxy:3128"),
        ("HTTPS_PROXY", "proxy:3128", URL, "http://proxy:3128"),
        ("ALL_PROXY", "http://proxy:3128", URL, "http://proxy:3128"),
        ("HTTP_PROXY", "http://proxy:3128", URL, None),
        ("HTTP_PROXY", "http://proxy:3128", "http://127.0.0.1:80", "http://proxy:3128"),
        ("HTTPS_PROXY", "", URL, None),
    ],
)
def test_the_proxy_is_that_of_the_scheme(
    monkeypatch: pytest.MonkeyPatch, variable: str, address: str, url: str, proxy: str | None
) -> None:
    """In either case, with or without its own scheme."""
    monkeypatch.setenv(variable, address)
    found = proxy_for(url)
    assert (None if found is None else str(found.url)) == proxy


@pytest.mark.parametrize("exempt", ["*", "comms.example", ".example", "other, comms.example:443"])
def test_no_proxy_exempts(monkeypatch: pytest.MonkeyPatch, exempt: str) -> None:
    """Hosts, domains and everything."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", exempt)
    assert proxy_for(URL) is None
    monkeypatch.setenv("NO_PROXY", "ms.example")
    assert proxy_for(URL) is not None


def test_no_proxy_exempts_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of either family, with whatever port."""
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,::1")
    assert proxy_for("http://127.0.0.1:8470/v1") is None
    assert proxy_for("http://[::1]:8470/v1") is None
    assert proxy_for("http://127.0.0.2:8470/v1") is not None


@pytest.mark.parametrize("address", ["ftp://user:sesame@proxy", "socks5://user:sesame@proxy:1080"])
def test_a_bad_proxy_is_named_but_not_repeated(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """It may hold a password."""
    monkeypatch.setenv("HTTPS_PROXY", address)
    with pytest.raises(EgressError, match="HTTPS_PROXY") as refused:
        open_transport(URL, max_connections=1)
    assert "sesame" not in str(refused.value)


def test_ssl_cert_file_replaces_the_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what it holds is trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(LOCALHOST))
    assert len(tls_context().get_ca_certs()) == 1


def test_ssl_cert_dir_is_heeded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its certificates are looked up when they are needed."""
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert tls_context().get_ca_certs() == []


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_bad_certificate_file_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    """With what is wrong with it, and what it should hold."""
    path = tmp_path / "roots.pem"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with pytest.raises(EgressError, match=r"SSL_CERT_FILE is '.*roots\.pem'.*PEM"):
        open_transport(URL, max_connections=1)
    open_transport("http://127.0.0.1:80", max_connections=1)


class Lane(httpx.AsyncBaseTransport):
    """Answers when it is told to; counts what it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.busy = False
        self.closed = False
        self.fault: Exception | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer, or fail; two requests at once are one too many."""
        assert not self.busy
        self.asked += 1
        self.busy = True
        await anyio.lowlevel.checkpoint()
        self.busy = False
        if self.fault is not None:
            raise self.fault
        return httpx.Response(200, stream=httpx.ByteStream(b"fine"), request=request)

    async def aclose(self) -> None:
        """Close."""
        self.closed = True


@pytest.fixture
def lanes() -> list[Lane]:
    """Return the lanes that were made."""
    return []


def _two_of(lanes: list[Lane]) -> Lanes:
    def make() -> Lane:
        lanes.append(Lane())
        return lanes[-1]

    return Lanes(make, most=2)


@pytest.mark.anyio
async def test_no_more_connections_than_are_allowed(lanes: list[Lane]) -> None:
    """The third waits for the first of two to be read to its end."""
    transport = _two_of(lanes)
    request = httpx.Request("GET", URL)
    first = await transport.handle_async_request(request)
    await transport.handle_async_request(request)
    with anyio.move_on_after(0.01) as waiting:
        await transport.handle_async_request(request)
    assert waiting.cancelled_caught
    await first.aclose()
    await first.aclose()
    third = await transport.handle_async_request(request)
    assert await third.aread() == b"fine"
    assert [lane.asked for lane in lanes] == [2, 1]


@pytest.mark.anyio
async def test_one_after_the_other_share_a_connection(lanes: list[Lane]) -> None:
    """A second one would only grow old."""
    async with httpx.AsyncClient(transport=_two_of(lanes)) as client:
        for _ in range(5):
            await client.get(URL)
    assert [(lane.asked, lane.closed) for lane in lanes] == [(5, True)]


@pytest.mark.anyio
async def test_a_failure_gives_its_connection_back(lanes: list[Lane]) -> None:
    """Whatever was raised."""
    transport = _two_of(lanes)
    lanes[0].fault = httpx.ReadError("gone")
    for _ in range(5):
        with pytest.raises(httpx.ReadError):
            await transport.handle_async_request(httpx.Request("GET", URL))
    assert len(lanes) == 1
