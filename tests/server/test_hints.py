"""The listener of hints over real sockets: what it takes, what it refuses, within which bounds."""

import hashlib
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from poller.addresses import TcpAddress
from poller.engine import hints as inbox
from poller.engine.meter import Meter
from poller.server import hints as listener
from poller.server.hints import HINT_LIMITS, PATH, HintAccess, sign
from poller.server.metrics import PrometheusMeter
from poller.store.errors import StoreUnavailable
from poller.store.schema import events, watches
from poller.tracking.hint import HintBatch
from tests.engine.scripted import until
from tests.fakes.pushes import PASSWORD, USER, batch, request, signature
from tests.fakes.tls import NO_TLS
from tests.server.conftest import Build
from tests.server.served import ANYWHERE, ServedDaemon
from tests.store.scenes import op, seen

pytestmark = pytest.mark.anyio

PUBLIC = "https://poller.example.com/v1/hints"
TOKEN = SecretStr("auth-token")
BASIC = HintAccess(user=USER, password=SecretStr(PASSWORD))
SIGNED = HintAccess(url=PUBLIC, auth_token=TOKEN)


def push(*numbers: int, kind: str = "completed", number: str = "1") -> bytes:
    """Write a batch about these operations."""
    return batch(*(op(one) for one in numbers), kind=kind, number=number)


@pytest.fixture(autouse=True)
def no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse at once; one test is about the delay."""
    monkeypatch.setattr(listener, "_REFUSED_AFTER", 0)


class Vendor:
    """Pushes to the listener of a daemon."""

    def __init__(self, server: ServedDaemon, meter: PrometheusMeter) -> None:
        self.server = server
        self._registry = meter.registry
        self._client = httpx.AsyncClient(
            base_url=server.bound.hints or "", trust_env=False, verify=NO_TLS
        )
        self.port = httpx.URL(server.bound.hints or "").port or 0

    async def basic(
        self, body: bytes, *, user: str = USER, password: str = PASSWORD
    ) -> httpx.Response:
        """Push with HTTP Basic, with the right password unless there is another one."""
        return await self._client.post(PATH, content=body, auth=(user, password))

    async def signed(self, body: bytes, *, sent: bytes | None = None, **how: Any) -> httpx.Response:  # noqa: ANN401 - of `signature`
        """Push with a signature; `sent` is another body than the signed one."""
        query, signed = signature(body, **{"url": PUBLIC, "token": TOKEN, **how})
        content = body if sent is None else sent
        return await self._client.post(
            f"{PATH}?{query}", content=content, headers={"X-Twilio-Signature": signed}
        )

    async def send(self, method: str = "POST", path: str = PATH, **how: Any) -> httpx.Response:  # noqa: ANN401 - of httpx
        """Send anything."""
        return await self._client.request(method, path, **how)

    def counted(self, metric: str, label: str) -> Mapping[str, float]:
        """Return what a counter has counted, by the values of its label, without the zeros."""
        found = {
            sample.labels[label]: sample.value
            for family in self._registry.collect()
            for sample in family.samples
            if sample.name == f"comms_poller_{metric}_total" and sample.value
        }
        return Counter(found)

    async def waiting(self, *numbers: int) -> None:
        """Register operations that wait for half a minute and more."""
        scene = self.server.scene
        ids = [op(number) for number in numbers]
        await scene.register(*ids)
        for wait in (*[100] * 7, 2):
            found = [(one, seen(one, at=scene.clock(), stats={"queued": 5})) for one in ids]
            await scene.record(*found)
            scene.clock.advance(wait)

    async def aclose(self) -> None:
        """Leave."""
        await self._client.aclose()


@asynccontextmanager
async def listening(build: Build, access: HintAccess = BASIC, **how: Any) -> AsyncIterator[Vendor]:  # noqa: ANN401 - of `daemon`
    """Open a daemon that listens for hints, with the vendor before it."""
    meter = PrometheusMeter()
    options = {"hints": ANYWHERE, "hint_access": access, "meter": Meter(meter), **how}
    async with build(**options) as server:
        vendor = Vendor(server, meter)
        yield vendor
        await vendor.aclose()


async def test_a_push_with_basic_wakes_a_poll(build: Build) -> None:
    """204, and the operation is due; no event is made of it."""
    async with listening(build) as vendor:
        await vendor.waiting(1, 2)
        before = await vendor.server.scene.count(events)
        answer = await vendor.basic(push(1))
        assert (answer.status_code, answer.content) == (204, b"")
        assert await vendor.server.scene.claim() == [op(1)]
        assert await vendor.server.scene.count(events) == before
        assert vendor.counted("hints", "effect") == {"woken": 1}
        assert vendor.counted("hint_pushes", "outcome") == {"accepted": 1}


@pytest.mark.parametrize("url", [PUBLIC, "https://poller.example.com:443/v1/hints"])
async def test_a_signed_push_wakes_a_poll(build: Build, url: str) -> None:
    """Whether the vendor writes the port that https has anyway, or not."""
    async with listening(build, SIGNED) as vendor:
        await vendor.waiting(1)
        assert (await vendor.signed(push(1), url=url)).status_code == 204
        assert await vendor.server.scene.claim() == [op(1)]


async def test_the_signature_is_that_of_the_vendor() -> None:
    """The example of the vendor's documentation of signed requests."""
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    form = "CallSidCA1234567890ABCDECaller+14158675310Digits1234From+14158675310To+18005551212"
    assert sign(SecretStr("12345"), url + form) == "GvWf1cFY/Q7PnoempGyD5oXAezc="


async def test_what_is_forged_is_refused(build: Build) -> None:
    """403, and nothing is woken: wrong or missing credentials, signature, URL or body."""
    both = HintAccess(user=USER, password=SecretStr(PASSWORD), url=PUBLIC, auth_token=TOKEN)
    async with listening(build, both) as vendor:
        await vendor.waiting(1)
        body, query = push(1), f"{PATH}?bodySHA256="
        header = {"X-Twilio-Signature": "AAAA"}
        digest = hashlib.sha256(body).hexdigest()
        twice = f"bodySHA256={digest}&bodySHA256={digest}"
        answers = [
            await vendor.send(content=body),
            await vendor.basic(body, password="other"),
            await vendor.basic(body, user="other"),
            await vendor.send(content=body, headers={"Authorization": "Basic %%%"}),
            await vendor.send(content=body, headers={"Authorization": "Bearer pass:word"}),
            await vendor.send(content=body, headers={"X-Twilio-Signature": "ÿ".encode("latin-1")}),
            await vendor.send(path=f"{query}{digest}", content=body, headers=header),
            await vendor.signed(body, token=SecretStr("other")),
            await vendor.signed(body, url="https://elsewhere.example.com/v1/hints"),
            await vendor.signed(body, sent=push(1, 2)),
            await vendor.send(
                content=body, headers={"X-Twilio-Signature": sign(TOKEN, f"{PUBLIC}?")}
            ),
            await vendor.send(
                path=f"{PATH}?{twice}",
                content=body,
                headers={"X-Twilio-Signature": sign(TOKEN, f"{PUBLIC}?{twice}")},
            ),
        ]
        assert {answer.status_code for answer in answers} == {403}
        assert answers[0].json()["type"] == "urn:comms-poller:problem:forged"
        assert not any(
            "pass:word" in answer.text or "auth-token" in answer.text for answer in answers
        )
        assert await vendor.server.scene.claim() == []
        assert vendor.counted("hint_pushes", "outcome") == {"forged": len(answers)}


async def test_without_credentials_everything_is_forged(build: Build) -> None:
    """Also an empty password: credentials that are not set admit nobody."""
    async with listening(build, HintAccess(auth_token=TOKEN)) as vendor:
        answer = await vendor.send(content=push(1), headers={"Authorization": "Basic Og=="})
        assert answer.status_code == 403
        assert (await vendor.signed(push(1), url="")).status_code == 403


async def test_refusals_are_late(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who guesses, or floods, is slowed down; what is genuine meanwhile is not."""
    monkeypatch.setattr(listener, "_REFUSED_AFTER", 0.6)
    async with listening(build, SIGNED) as vendor, anyio.create_task_group() as tasks:
        begun = anyio.current_time()
        answers: list[int] = []

        async def refused(body: bytes, sent: bytes, token: SecretStr) -> None:
            answer = await vendor.signed(body, sent=sent, token=token)
            assert anyio.current_time() - begun >= 0.6
            answers.append(answer.status_code)

        tasks.start_soon(refused, push(1), push(1), SecretStr("other"))
        tasks.start_soon(refused, push(1), push(2), TOKEN)
        tasks.start_soon(refused, b"nonsense", b"nonsense", TOKEN)
        assert (await vendor.signed(push(3))).status_code == 204
        assert not answers
    assert sorted(answers) == [400, 403, 403]


async def test_beyond_a_number_at_a_time_it_is_503(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the body is read, which is not in memory then; the vendor sends it again."""
    monkeypatch.setattr(listener, "_MOST_AT_ONCE", 2)
    async with listening(build) as vendor, anyio.create_task_group() as tasks:
        answers: list[bytes] = []
        answered = anyio.Event()

        async def begin() -> None:
            async with await anyio.connect_tcp("127.0.0.1", vendor.port) as line:
                await line.send(request(push(1))[:-1])
                answers.append(await line.receive())
                answered.set()
                await anyio.sleep_forever()

        for _ in range(3):
            tasks.start_soon(begin)
        with anyio.fail_after(5):
            await answered.wait()
        [answer] = answers
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1\r\n" in answer
        assert b"urn:comms-poller:problem:crowded" in answer
        assert vendor.counted("hint_pushes", "outcome") == {"crowded": 1}
        tasks.cancel_scope.cancel()


async def test_a_forged_push_is_refused_before_its_body_is_read(build: Build) -> None:
    """Nobody unknown makes the daemon read a megabyte."""
    async with listening(build) as vendor:
        with anyio.fail_after(2):
            answer = await vendor.send(content=endless(), headers={"Content-Length": "1000000"})
        assert answer.status_code == 403


async def endless() -> AsyncIterator[bytes]:
    """Send a byte, and then nothing."""
    yield b"["
    await anyio.sleep(1)
    yield b" " * 999_999


async def test_what_is_malformed_is_refused(build: Build) -> None:
    """400: the vendor does not send it again."""
    async with listening(build) as vendor:
        for body in (b"", b"nonsense", b"\xff\xfe", b"[" * 100_000, b'[{"id": "x"}]', b"{}"):
            answer = await vendor.basic(body)
            assert answer.status_code == 400, body[:20]
            assert answer.json()["type"] == "urn:comms-poller:problem:unreadable"


async def test_what_is_too_large_is_refused(build: Build) -> None:
    """413, whether it says how large it is or not."""
    async with listening(build) as vendor:
        body = b"[" + b" " * HINT_LIMITS.body_bytes + b"]"
        assert (await vendor.basic(body)).status_code == 413

        async def chunks() -> AsyncIterator[bytes]:
            for start in range(0, len(body), 65_536):
                yield body[start : start + 65_536]

        answer = await vendor.send(content=chunks(), auth=(USER, PASSWORD))
        assert answer.status_code == 413
        assert "use smaller batches" in answer.json()["hint"]


async def test_there_is_one_route(build: Build) -> None:
    """The listener is open to the world: it serves nothing else."""
    async with listening(build) as vendor:
        for path in ("/", "/healthz", "/metrics", "/v1/operations", "/v1/hints/", "/openapi.json"):
            assert (await vendor.send("GET", path)).status_code == 404, path
        answer = await vendor.send("GET")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_the_control_api_has_no_such_route(build: Build) -> None:
    """And its token opens nothing here."""
    async with listening(build, token="t") as vendor:
        assert (await vendor.server.client.post(PATH, content=push(1))).status_code == 404
        headers = {"Authorization": "Bearer t"}
        assert (await vendor.send(content=push(1), headers=headers)).status_code == 403


async def test_a_replayed_push_does_nothing(build: Build) -> None:
    """Who has recorded one can send it again and again: it wakes nothing a second time."""
    async with listening(build, SIGNED) as vendor:
        await vendor.waiting(1)
        assert (await vendor.signed(push(1))).status_code == 204
        await vendor.server.scene.claim()
        await vendor.server.scene.observe(op(1), "PROCESSING", queued=5)
        vendor.server.scene.clock.advance(2)
        begun = anyio.current_time()
        for _ in range(5):
            assert (await vendor.signed(push(1))).status_code == 204
        # no faster than new ones: each is answered with the next transaction
        assert anyio.current_time() - begun >= 4 * inbox._PAUSE
        assert await vendor.server.scene.claim() == []
        assert vendor.counted("hints", "effect") == {"woken": 1, "repeated": 5}


async def test_unknown_ids_are_answered_like_any(build: Build) -> None:
    """An account has operations that another program watches."""
    async with listening(build) as vendor:
        assert (await vendor.basic(push(*range(50)))).status_code == 204
        assert vendor.counted("hints", "effect") == {"unknown": 50}
        assert await vendor.server.scene.count(watches) == 0


async def test_pushes_that_come_together_are_written_together(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty come while one transaction runs: all are answered, with one transaction more."""
    monkeypatch.setattr(inbox, "_WRITE_TIMEOUT", 30)
    async with listening(build) as vendor:
        await vendor.waiting(*range(1, 41))
        record, calls = vendor.server.store.record_hints, []
        begun, go_on = anyio.Event(), anyio.Event()

        async def holding(hints: Mapping[str, Any], **how: Any) -> Any:  # noqa: ANN401 - as the store
            calls.append(len(hints))
            begun.set()
            await go_on.wait()
            return await record(hints, **how)

        monkeypatch.setattr(vendor.server.store, "record_hints", holding)
        taken: list[str] = []
        take = inbox.HintInbox.take

        async def noting(self: inbox.HintInbox, hints: HintBatch) -> bool:
            taken.extend(event.id for event in hints.events)
            return await take(self, hints)

        monkeypatch.setattr(inbox.HintInbox, "take", noting)
        statuses: Counter[int] = Counter()

        async def send(number: int) -> None:
            answer = await vendor.basic(push(number % 25 + 1, number=f"{number}"))
            statuses[answer.status_code] += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send, 40)
            await begun.wait()
            for number in range(40):
                tasks.start_soon(send, number)
            await until(lambda: len(taken) == 41)
            go_on.set()
        assert statuses == {204: 41}
        assert calls == [1, 25]
        assert len(await vendor.server.scene.claim(limit=100)) == 25


async def test_what_does_not_fit_is_dropped_and_counted(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vendor need not send it again: the operation is polled in its turn."""
    monkeypatch.setattr(inbox, "_MOST_PENDING", 10)
    async with listening(build) as vendor:
        assert (await vendor.basic(push(*range(30)))).status_code == 204
        assert vendor.counted("hints", "effect") == {"unknown": 10, "dropped": 20}


async def test_a_store_that_refuses_is_503(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """The vendor sends it again, and then it is taken."""
    async with listening(build) as vendor:
        await vendor.waiting(1)
        with monkeypatch.context() as broken:

            async def refuse(*_: object, **__: object) -> None:
                raise StoreUnavailable("store.url: no room")

            broken.setattr(vendor.server.store, "record_hints", refuse)
            answer = await vendor.basic(push(1))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        # the loop waits for a second after a failure
        assert (await vendor.basic(push(1))).status_code in {204, 503}
        await anyio.sleep(1)
        assert (await vendor.basic(push(1))).status_code == 204
        assert await vendor.server.scene.claim() == [op(1)]


async def test_a_store_that_hangs_is_503_within_a_second(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vendor does not wait for long."""
    async with listening(build) as vendor:

        async def hang(*_: object, **__: object) -> None:
            await anyio.sleep_forever()

        monkeypatch.setattr(vendor.server.store, "record_hints", hang)
        begun = anyio.current_time()
        assert (await vendor.basic(push(1))).status_code == 503
        assert anyio.current_time() - begun < 1.5


async def test_other_credentials_hold_from_the_next_push_on(build: Build) -> None:
    """A reload swaps them."""
    async with listening(build) as vendor:
        vendor.server.bound.use_hint_access(SIGNED)
        assert (await vendor.basic(push(1))).status_code == 403
        assert (await vendor.signed(push(1))).status_code == 204


async def test_other_machines_may_reach_it_without_the_token(build: Build) -> None:
    """It has credentials of its own."""
    async with listening(build, hints=TcpAddress(host="0.0.0.0", port=0)) as vendor:
        assert vendor.server.bound.hints is not None


async def test_refusals_are_logged_once(build: Build) -> None:
    """A flood of forged pushes does not fill the log."""
    async with listening(build) as vendor:
        with capture_logs() as logs:
            for _ in range(20):
                await vendor.basic(push(1), password=b64encode(b"x").decode())
        lines = [line for line in logs if line["log_level"] != "debug"]
        assert [line["event"] for line in lines] == ["hints.refused"]
        assert "server.hints_user" in lines[0]["error"]
