"""The webhook sink against a real socket: what is sent, and what each kind of answer does."""

import logging
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import anyio.abc
import httpx
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from pydantic import SecretStr

from poller import __version__
from poller.sinks.base import OutgoingEvent, SinkOutcome, SinkUnavailable, SinkVerdict
from poller.sinks.formats import chat_format
from poller.sinks.webhook import WebhookSink
from tests.fakes.outgoing import outgoing
from tests.fakes.receiver import Answer, Receiver

pytestmark = pytest.mark.anyio

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OLD_SECRET = "whsec_" + "T" * 32


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Start a receiver that checks signatures and answers 204."""
    with Receiver(secret=SECRET) as made:
        yield made


@asynccontextmanager
async def _sink(
    url: str,
    *,
    secret: str | None = SECRET,
    headers: dict[str, str] | None = None,
    timeout: float = 5.0,  # noqa: ASYNC109  (a setting of the sink)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    transport: httpx.AsyncBaseTransport | None = None,
) -> AsyncIterator[WebhookSink]:
    sink = WebhookSink(
        name="app",
        url=url,
        secret=SecretStr(secret) if secret else None,
        headers={name: SecretStr(value) for name, value in (headers or {}).items()},
        timeout=timeout,
        clock=clock,
        transport=transport,
    )
    try:
        yield sink
    finally:
        await sink.aclose()


async def _one(sink: WebhookSink, event_id: str = "e1") -> SinkOutcome:
    (outcome,) = await sink.deliver([outgoing(event_id)])
    return outcome


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 204 X\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 304 X\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 204 X\r\n\r\nok",
        b"HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\nok\r\n",
        2 * b"HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\nok",
    ],
    ids=["204 with a length", "304 with a length", "204", "more than its length", "answered twice"],
)
async def test_more_than_an_answer_does_not_reach_the_next_event(answer: bytes) -> None:
    """Such a connection is not used again: its leftover bytes would be read as the next answer."""
    connections: list[int] = []

    async def receive(stream: anyio.abc.SocketStream) -> None:
        connections.append(0)
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            async with stream:
                request = b""
                while True:
                    request += await stream.receive()
                    if b"\r\n\r\n" in request and request.endswith(b"}"):
                        connections[-1] += 1
                        request = b""
                        await stream.send(answer)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - not Django
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, receive)
        async with _sink(f"http://127.0.0.1:{port}/hook") as sink:
            outcomes = [await _one(sink, f"e{number}") for number in range(3)]
        tasks.cancel_scope.cancel()
    assert {outcome.status for outcome in outcomes} == {int(answer.split()[1])}
    assert connections == [1, 1, 1]


async def test_a_request_is_what_receivers_expect(receiver: Receiver) -> None:
    """Method, headers, signature and body are those of the specifications."""
    async with _sink(receiver.url, headers={"Authorization": "Bearer abcdef"}) as sink:
        outcome = await _one(sink)
    assert outcome == SinkOutcome(verdict=SinkVerdict.DELIVERED, status=204)
    (request,) = receiver.received
    assert (request.method, request.path, request.signature) == ("POST", "/hook", "good")
    assert request.body == outgoing("e1").encoded()
    assert request.headers["content-type"] == "application/cloudevents+json"
    assert request.headers["webhook-id"] == "e1"
    assert request.headers["authorization"] == "Bearer abcdef"
    assert request.headers["user-agent"] == f"comms-poller/{__version__}"
    assert request.headers["accept-encoding"] == "identity"


async def test_the_cloudevents_sdk_reads_it(receiver: Receiver) -> None:
    """The CloudEvents Python SDK takes headers and body as they come."""
    async with _sink(receiver.url) as sink:
        await _one(sink)
    (request,) = receiver.received
    event = from_http_event(HTTPMessage(headers=dict(request.headers), body=request.body))
    assert event.get_id() == "e1"
    assert event.get_type() == "operation.progress"


async def test_every_attempt_is_signed_afresh(receiver: Receiver) -> None:
    """A retry carries the time of the retry, or receivers would refuse it as replayed."""
    times = [datetime.now(UTC) + timedelta(seconds=seconds) for seconds in (0, 0, 60, 60)]
    receiver.answer_next(Answer(status=500))
    async with _sink(receiver.url, clock=lambda: times.pop(0)) as sink:
        await _one(sink)
        await _one(sink)
    first, second = receiver.received
    assert (first.signature, second.signature) == ("good", "good")
    stamps = [int(r.headers["webhook-timestamp"]) for r in (first, second)]
    assert stamps[1] - stamps[0] == 60
    assert first.body == second.body


async def test_the_trace_of_an_event_goes_with_it(receiver: Receiver) -> None:
    """As headers, which those of the settings do not replace."""
    headers = {"traceparent": PARENT, "tracestate": "vendor=value"}
    event = replace(outgoing("e1"), headers=headers)
    async with _sink(receiver.url, headers={"traceparent": "mine"}) as sink:
        await sink.deliver([event, outgoing("e2")])
    first, second = receiver.received
    assert {name: first.headers[name] for name in headers} == headers
    assert second.headers["traceparent"] == "mine"
    assert "tracestate" not in second.headers


async def test_nobody_logs_where_it_goes(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """A program that logs everything shows no token of a URL: it may have the poller inside."""
    caplog.set_level(logging.DEBUG)
    async with _sink(f"{receiver.url}?token=T0k3nT0k3nT0k3n") as sink:
        (outcome,) = await sink.deliver([outgoing("e1")])
    assert outcome.verdict is SinkVerdict.DELIVERED
    assert "T0k3n" not in caplog.text


async def test_a_rotating_secret_signs_twice(receiver: Receiver) -> None:
    """The receiver accepts, whichever of the two secrets it knows."""
    async with _sink(receiver.url, secret=f"{OLD_SECRET} {SECRET}") as sink:
        await _one(sink)
    (request,) = receiver.received
    assert request.signature == "good"
    assert len(request.headers["webhook-signature"].split(" ")) == 2


async def test_without_a_secret_nothing_is_signed(receiver: Receiver) -> None:
    """No secret, no signature, but id and timestamp all the same."""
    async with _sink(receiver.url, secret=None) as sink:
        await _one(sink)
    (request,) = receiver.received
    assert request.signature == "missing"
    assert request.headers["webhook-id"] == "e1"


async def test_answers_become_verdicts(receiver: Receiver) -> None:
    """Status and `Retry-After` of a real answer come through."""
    receiver.answer_next(
        Answer(status=410),
        Answer(status=422, body=b"no such field"),
        Answer(status=503, headers={"Retry-After": "77"}),
        Answer(status=301, headers={"Location": "/elsewhere"}),
    )
    async with _sink(receiver.url) as sink:
        gone, refused, busy, moved = [await _one(sink) for _ in range(4)]
    assert gone.verdict is SinkVerdict.GONE
    assert (refused.verdict, refused.status) == (SinkVerdict.REFUSED, 422)
    assert refused.error is not None
    assert refused.error.endswith("answered 422: no such field")
    assert (busy.verdict, busy.retry_after) == (SinkVerdict.FAILED, 77.0)
    assert moved.verdict is SinkVerdict.FAILED
    assert "redirects are not followed" in (moved.error or "")
    assert len(receiver.received) == 4


async def test_a_chat_service_gets_a_message(receiver: Receiver) -> None:
    """JSON in place of a CloudEvent; Discord is asked to store it before it answers."""
    body_format = chat_format("discord", "")
    event = OutgoingEvent(id="e", body='{"type":"poller.test","data":{"note":"a test"}}')
    receiver.answer_next(
        Answer(status=429, headers={"Retry-After": "0.65"}, body=b"it is true: 0123456789abcdef")
    )
    sink = WebhookSink(
        name="team", url=f"{receiver.url}/0123456789abcdef?thread_id=7", body_format=body_format
    )
    busy, delivered = [(await sink.deliver([event]))[0] for _ in range(2)]
    await sink.aclose()
    assert (busy.verdict, busy.retry_after) == (SinkVerdict.FAILED, 0.65)
    assert (busy.error or "").endswith("it is true: […]")
    assert delivered.verdict is SinkVerdict.DELIVERED
    request = receiver.received[-1]
    assert request.path == "/hook/0123456789abcdef?thread_id=7&wait=true"
    assert request.headers["content-type"] == "application/json"
    assert request.body == body_format.encode(event)
    assert sink.concurrency == body_format.concurrency == 2


async def test_an_echo_of_our_secrets_is_cut_out(receiver: Receiver) -> None:
    """A receiver that shows the request in its error page betrays nothing."""
    token = "tok_0123456789abcdef"
    echo = f"{SECRET} {SECRET[6:]} Bearer hunter2hunter2 hunter2hunter2 /hook/{token} q9876"
    receiver.answer_next(Answer(status=500, body=echo.encode()))
    url = f"{receiver.url}/{token}?key=q9876"
    headers = {"authorization": "Bearer hunter2hunter2"}
    async with _sink(url, headers=headers) as sink:
        outcome = await _one(sink)
        shown = f"{outcome} {sink!r}"
    for secret in (SECRET[6:], "hunter2", token, "q9876"):
        assert secret not in shown


async def test_a_long_answer_is_read_only_so_far(receiver: Receiver) -> None:
    """An endless body costs neither memory nor the slot, and the sentence stays short."""
    receiver.answer_next(Answer(status=500, body=b"x" * 5_000_000))
    async with _sink(receiver.url) as sink:
        outcome = await _one(sink)
    assert outcome.status == 500
    assert len(outcome.error or "") < 300


async def test_the_status_decides_even_if_the_body_never_ends(receiver: Receiver) -> None:
    """A body that drips or breaks off does not turn what was accepted into a failure."""
    receiver.answer_next(
        Answer(status=200, body=b"y" * 1000, drip=0.02),
        Answer(status=200, body=b"", truncate=True),
        Answer(status=500, body=b"oops", truncate=True),
    )
    async with _sink(receiver.url, timeout=0.5) as sink:
        dripped, cut, failed = [await _one(sink) for _ in range(3)]
    assert (dripped.verdict, cut.verdict) == (SinkVerdict.DELIVERED, SinkVerdict.DELIVERED)
    assert (failed.verdict, failed.status) == (SinkVerdict.FAILED, 500)
    assert "oops" in (failed.error or "")


@pytest.mark.parametrize(
    "answer",
    [
        Answer(delay=30.0),
        Answer(raw=b"HTTP/1.1 200 OK\r\n", delay=0.0),
        Answer(raw=b"HTTP/1.1 banana\r\n\r\n"),
        Answer(raw=b"\0" * 1000),
        Answer(raw=b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000),
        Answer(raw=b""),
        Answer(reset=True),
    ],
    ids=["silent", "half a head", "no status", "zeros", "endless head", "nothing", "reset"],
)
async def test_no_answer_is_a_failure_in_a_sentence(receiver: Receiver, answer: Answer) -> None:
    """Silence, garbage and broken connections fail within the deadline; the next attempt works."""
    receiver.answer_next(answer)
    async with _sink(receiver.url, timeout=0.5) as sink:
        with anyio.fail_after(sink.deadline):
            outcome = await _one(sink)
        again = await _one(sink)
    assert (outcome.verdict, outcome.status) == (SinkVerdict.FAILED, None)
    assert outcome.error is not None
    assert outcome.error.startswith(receiver.url.removesuffix("/hook"))
    assert len(outcome.error) > 50
    assert again.verdict is SinkVerdict.DELIVERED


async def test_an_unreachable_receiver_is_named() -> None:
    """A closed port fails with the address and the reason."""
    with Receiver() as receiver:
        url = receiver.url
    async with _sink(url) as sink:
        closed = await _one(sink)
    assert closed.verdict is SinkVerdict.FAILED
    place = url.removesuffix("/hook")
    refused = f"connection refused by {place.removeprefix('http://')}; check that the receiver runs"
    assert (closed.error or "").startswith(f"{place}: {refused}")


async def test_connections_are_used_again(receiver: Receiver) -> None:
    """Several events go over one connection, and cookies are not kept."""
    receiver.answer_next(Answer(status=200, body=b"thanks", headers={"Set-Cookie": "a=b"}))
    async with _sink(receiver.url) as sink:
        for number in range(3):
            await _one(sink, f"e{number}")
    assert len({request.connection for request in receiver.received}) == 1
    assert not any("cookie" in request.headers for request in receiver.received)


async def test_a_reload_renews_connections(receiver: Receiver) -> None:
    """They look the host up again; the sink stays as it is."""
    async with _sink(receiver.url) as sink:
        for number in range(4):
            if number == 2:
                await sink.reopen()
            await _one(sink, f"e{number}")
    first, second, third, fourth = [request.connection for request in receiver.received]
    assert first == second != third == fourth


async def test_a_dead_proxy_is_not_the_receivers_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy and its variable are named, its password is not."""
    monkeypatch.setenv("HTTP_PROXY", "http://me:hunter2@127.0.0.1:9")
    async with _sink("http://app.invalid/hook") as sink:
        outcome = await _one(sink)
    assert outcome.error == (
        "http://app.invalid: connection refused by the proxy 127.0.0.1:9 (HTTP_PROXY); "
        "check HTTP_PROXY and the proxy, or name app.invalid in NO_PROXY"
    )


async def test_many_at_once(receiver: Receiver) -> None:
    """As many deliveries as the sink allows run at the same time."""
    async with _sink(receiver.url) as sink, anyio.create_task_group() as tasks:
        for number in range(sink.concurrency):
            tasks.start_soon(_one, sink, f"e{number}")
    ids = {request.headers["webhook-id"] for request in receiver.received}
    assert ids == {f"e{number}" for number in range(sink.concurrency)}


async def test_proxy_variables_work_as_usual(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`HTTP_PROXY` is used, `NO_PROXY` is respected, a bad one is named without its password."""
    monkeypatch.setenv("HTTP_PROXY", receiver.url.removesuffix("/hook"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    async with _sink("http://app.invalid/hook") as sink:
        assert (await _one(sink)).verdict is SinkVerdict.DELIVERED
    async with _sink(receiver.url) as sink:
        await _one(sink)
    assert [r.path for r in receiver.received] == ["http://app.invalid/hook", "/hook"]
    monkeypatch.setenv("HTTP_PROXY", "gopher://me:hunter2@proxy")
    async with _sink("http://app.invalid/hook") as sink:
        with pytest.raises(SinkUnavailable, match="HTTP_PROXY") as caught:
            await sink.start()
        outcome = await _one(sink)
    assert outcome.verdict is SinkVerdict.FAILED
    assert "hunter2" not in f"{caught.value} {outcome}"


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate for 127.0.0.1 that nobody has signed, with its key in the same file."""
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("makes a certificate with openssl")
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    request = (
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
        " -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run(
        [openssl, *request.split(), "-keyout", path, "-out", path.with_suffix(".crt")],
        check=True,
        capture_output=True,
    )
    with path.open("ab") as file:
        file.write(path.with_suffix(".crt").read_bytes())
    return path


async def test_certificates_are_checked_and_can_be_added(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown certificate fails with a hint; with `SSL_CERT_FILE` it is trusted."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with Receiver(secret=SECRET, tls=tls) as receiver:
        async with _sink(receiver.url) as sink:
            outcome = await _one(sink)
        assert outcome.verdict is SinkVerdict.FAILED
        assert "is not trusted: self" in (outcome.error or "")
        assert "SSL_CERT_FILE" in (outcome.error or "")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        async with _sink(receiver.url) as sink:
            assert (await _one(sink)).verdict is SinkVerdict.DELIVERED
        async with _sink(receiver.url.replace("https", "http")) as sink:
            outcome = await _one(sink)
        assert outcome.verdict is SinkVerdict.FAILED
        assert "must begin with https://" in (outcome.error or "")
    with Receiver() as plain:
        async with _sink(plain.url.replace("http", "https")) as sink:
            outcome = await _one(sink)
    assert "must begin with http://" in (outcome.error or "")


async def test_a_missing_certificate_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """`SSL_CERT_FILE` that cannot be read keeps the sink from starting, and says so."""
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file.pem")
    async with _sink("https://127.0.0.1:9/hook") as sink:
        with pytest.raises(SinkUnavailable, match="SSL_CERT_FILE"):
            await sink.start()


async def test_the_transport_can_be_swapped() -> None:
    """Another transport carries the same requests."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200)

    async with _sink("https://app.invalid/x", transport=httpx.MockTransport(answer)) as sink:
        assert (await _one(sink)).verdict is SinkVerdict.DELIVERED
    assert seen[0].headers["webhook-id"] == "e1"


@pytest.mark.parametrize(
    ("setting", "fault"),
    [
        ({"url": "ftp://hunter2"}, "http or https URL"),
        ({"secret": SecretStr("hunter2")}, "whsec_"),
        ({"headers": {"webhook-id": SecretStr("hunter2")}}, "webhook-id"),
        ({"concurrency": 31}, "concurrency"),
        ({"concurrency": 0}, "concurrency"),
    ],
)
def test_wrong_settings_are_refused(setting: dict[str, object], fault: str) -> None:
    """What cannot work is refused when the sink is made, without being repeated."""
    arguments: dict[str, object] = {"name": "app", "url": "https://app.example/"} | setting
    with pytest.raises(ValueError, match=fault) as caught:
        WebhookSink(**arguments)  # type: ignore[arg-type]  # one wrong value each
    assert "hunter2" not in str(caught.value)
