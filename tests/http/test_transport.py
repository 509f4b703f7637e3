"""The connections: certificates, how many there are, and how long one is used."""

from pathlib import Path

import anyio
import httpx
import pytest

from poller.http.route import EgressError, Route
from poller.http.transport import GREATEST_AGE, KEEPALIVE, Lanes, open_transport, tls_context

LOCALHOST = Path(__file__).parents[1] / "comms" / "localhost.pem"
URL = "https://comms.example/v1"
REQUEST = httpx.Request("GET", URL)


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


def test_the_bundled_roots_are_trusted() -> None:
    """Unless a variable says otherwise."""
    assert len(tls_context().get_ca_certs()) > 50


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
    with pytest.raises(EgressError, match=r"SSL_CERT_FILE is '.*roots\.pem'.*PEM") as refused:
        open_transport(Route.direct(URL), max_connections=1)
    reason = "No such file or directory" if content is None else "no certificate or crl found"
    assert f"({reason})" in str(refused.value)
    open_transport(Route.direct("http://127.0.0.1:80"), max_connections=1)


class Lane(httpx.AsyncBaseTransport):
    """Answers when the test says so; counts requests."""

    def __init__(self) -> None:
        self.asked = 0
        self.busy = False
        self.closed = False
        self.fault: Exception | None = None
        self.closing_fault: Exception | None = None

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
        if self.closing_fault is not None:
            raise self.closing_fault


class Line:
    """Two lanes at most, with a clock that a test turns."""

    def __init__(self) -> None:
        self.made: list[Lane] = []
        self.now = 0.0
        self.lanes = Lanes(self._make, most=2, clock=lambda: self.now)

    async def ask(self) -> httpx.Response:
        """Begin a request; it ends when its response is closed."""
        return await self.lanes.handle_async_request(REQUEST)

    async def ask_at(self, now: float) -> None:
        """Make one whole request."""
        self.now = now
        await (await self.ask()).aclose()

    @property
    def closed(self) -> list[bool]:
        """Tell for each lane that was made whether it is closed."""
        return [lane.closed for lane in self.made]

    def _make(self) -> Lane:
        self.made.append(Lane())
        return self.made[-1]


@pytest.fixture
def line() -> Line:
    """Return lanes that a test looks into."""
    return Line()


@pytest.mark.anyio
async def test_no_more_connections_than_are_allowed(line: Line) -> None:
    """The third waits for the first of two to be read to its end."""
    first = await line.ask()
    await line.ask()
    with anyio.move_on_after(0.01) as waiting:
        await line.ask()
    assert waiting.cancelled_caught
    await first.aclose()
    await first.aclose()
    third = await line.ask()
    assert await third.aread() == b"fine"
    assert [lane.asked for lane in line.made] == [2, 1]


@pytest.mark.anyio
async def test_one_after_the_other_share_a_connection(line: Line) -> None:
    """A second one would only grow old."""
    async with httpx.AsyncClient(transport=line.lanes) as client:
        for _ in range(5):
            await client.get(URL)
    assert [(lane.asked, lane.closed) for lane in line.made] == [(5, True)]


@pytest.mark.anyio
async def test_a_failure_gives_its_connection_back(line: Line) -> None:
    """Whatever was raised."""
    await line.ask_at(0)
    line.made[0].fault = httpx.ReadError("gone")
    for _ in range(5):
        with pytest.raises(httpx.ReadError):
            await line.ask()
    assert len(line.made) == 1


@pytest.mark.anyio
async def test_a_busy_connection_is_replaced_when_it_is_old(line: Line) -> None:
    """Else a change of DNS would never be followed: a new connection looks the host up again."""
    for second in range(int(2.5 * GREATEST_AGE)):
        await line.ask_at(second)
    assert line.closed == [True, True, False]


@pytest.mark.anyio
async def test_a_request_under_way_ends_on_its_connection(line: Line) -> None:
    """However old the connection grows meanwhile; it is closed right after."""
    long = await line.ask()
    line.now = 10 * GREATEST_AGE
    assert not line.made[0].closed
    assert await long.aread() == b"fine"
    await long.aclose()
    assert line.closed == [True]


@pytest.mark.anyio
async def test_an_idle_connection_is_closed(line: Line) -> None:
    """The one that was used last is used next, so that the other one grows idle."""
    first, second = await line.ask(), await line.ask()
    await first.aclose()
    await second.aclose()
    await line.ask_at(KEEPALIVE - 1)
    assert line.closed == [False, False]
    await line.ask_at(KEEPALIVE)
    assert line.closed == [True, False]
    await line.ask_at(3 * KEEPALIVE)
    assert line.closed == [True, True, False]


@pytest.mark.anyio
async def test_renewed_connections_are_fresh(line: Line) -> None:
    """Idle ones are closed at once, busy ones when their request has ended."""
    busy, idle = await line.ask(), await line.ask()
    await idle.aclose()
    await line.lanes.renew()
    assert line.closed == [False, True]
    await busy.aclose()
    assert line.closed == [True, True]
    await line.ask_at(1)
    await line.ask_at(2)
    assert [lane.asked for lane in line.made] == [1, 1, 2]


@pytest.mark.anyio
async def test_a_connection_that_cannot_be_closed_stops_nothing(line: Line) -> None:
    """Neither the request that meets it nor the next one."""
    await line.ask_at(0)
    line.made[0].closing_fault = OSError("gone")
    await line.lanes.renew()
    await line.ask_at(1)
    assert [lane.asked for lane in line.made] == [1, 1]
