"""Who may come in: tokens, hosts, origins."""

import anyio
import pytest
from pydantic import SecretStr

from poller.addresses import is_loopback
from tests.server.conftest import Build
from tests.server.served import ServedDaemon

pytestmark = pytest.mark.anyio

TOKEN = "a-token-of-some-length"
GUARDED = ("/v1/operations", "/v1/events", "/v1/sinks", "/v1/dead-letters", "/openapi.json", "/no")


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer wrong", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer t\xe4"],
)
async def test_the_token_is_wanted_everywhere_but_for_health(
    build: Build, authorization: str
) -> None:
    """401 with the scheme to use; probes need none."""
    async with build(token=TOKEN) as server:
        headers = {b"Authorization": authorization.encode("latin-1")}
        for path in GUARDED:
            answer = await server.client.get(path, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.json()["type"] == "urn:comms-poller:problem:unauthorized"
            assert TOKEN not in answer.text
        assert (await server.client.get("/healthz", headers=headers)).status_code == 503


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
async def test_the_token_opens(build: Build, scheme: str) -> None:
    """A client that has it may come from anywhere: no Host, no Origin is looked at."""
    async with build(token=TOKEN) as server:
        headers = {
            "Authorization": f"{scheme} {TOKEN}",
            "Host": "poller.example",
            "Origin": "https://x.example",
        }
        assert (await server.client.get("/v1/sinks", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "10.0.0.1", "localhost.evil.example"]
)
async def test_a_name_that_was_bound_to_us_is_refused(
    shared_server: ServedDaemon, host: str
) -> None:
    """DNS rebinding: a page reaches loopback under its own name, and gets 403."""
    for path in ("/v1/sinks", "/readyz"):
        answer = await shared_server.client.get(path, headers={"Host": host})
        assert answer.status_code == 403
        assert answer.json()["type"] == "urn:comms-poller:problem:forbidden"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8470", "[::1]:8470"])
async def test_our_own_names_are_taken(shared_server: ServedDaemon, host: str) -> None:
    """Whatever a program of this machine calls us."""
    assert (await shared_server.client.get("/v1/sinks", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:1", "http://["]
)
async def test_a_page_of_another_origin_is_refused(
    shared_server: ServedDaemon, origin: str
) -> None:
    """403, before anything is registered or forgotten."""
    for method in ("GET", "POST", "DELETE"):
        answer = await shared_server.client.request(
            method, "/v1/operations", headers={"Origin": origin, "Host": "localhost:8470"}
        )
        assert answer.status_code == 403


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost.", True),
        ("0.0.0.0", False), ("::", False), ("192.168.0.1", False), ("localhost.x", False),
        ("", False),
    ],
)  # fmt: skip
def test_loopback(host: str, loopback: bool) -> None:  # noqa: FBT001 - an expectation
    """What only this machine can reach."""
    assert is_loopback(host) is loopback


async def test_a_token_may_be_added_changed_and_removed(server: ServedDaemon) -> None:
    """From the next request on; the description says whether one is asked for."""
    with_token = {"Authorization": f"Bearer {TOKEN}"}
    assert "security" not in (await server.client.get("/openapi.json")).json()
    server.bound.use_access(SecretStr(TOKEN), "")
    assert (await server.client.get("/v1/sinks")).status_code == 401
    assert (await server.client.get("/v1/sinks", headers=with_token)).status_code == 200
    described = (await server.client.get("/openapi.json", headers=with_token)).json()
    assert described["security"] == [{"bearer": []}]
    server.bound.use_access(SecretStr("another"), "")
    assert (await server.client.get("/v1/sinks", headers=with_token)).status_code == 401
    server.bound.use_access(None, "")
    assert (await server.client.get("/v1/sinks")).status_code == 200
    refused = await server.client.get("/v1/sinks", headers={"Host": "evil.example"})
    assert refused.status_code == 403
    assert "security" not in (await server.client.get("/openapi.json")).json()


async def test_a_changed_token_ends_the_streams(server: ServedDaemon) -> None:
    """They were opened with the one before; the same token again leaves them alone."""
    async with server.client.stream("GET", "/v1/events") as answer:
        lines = answer.aiter_lines()
        await anext(lines)
        server.bound.use_access(None, "")
        assert not server.daemon.loops().stopping
        server.bound.use_access(SecretStr(TOKEN), "")
        with anyio.fail_after(20):
            rest = [line async for line in lines]
    assert any("the stream ends" in line for line in rest)
    assert (await server.client.get("/v1/events")).status_code == 401


@pytest.mark.parametrize("token", [None, TOKEN])
async def test_people_come_by_the_public_url(build: Build, token: str | None) -> None:
    """An ingress or a tunnel keeps its own Host and Origin; other names stay refused."""
    async with build(token=token, public_url="https://Poller.example/") as server:
        authorization = {} if token is None else {"Authorization": f"Bearer {token}"}
        own = {"Host": "poller.example", "Origin": "https://poller.example", **authorization}
        assert (await server.client.get("/v1/sinks", headers=own)).status_code == 200
        assert (await server.client.get("/", headers=own)).status_code == 200
        behind = {"Host": "127.0.0.1:8470", "Origin": "https://poller.example"}
        assert (await server.client.get("/", headers=behind)).status_code == 200
        foreign = {"Host": "poller.example", "Origin": "https://evil.example", "Authorization": ""}
        assert (await server.client.get("/", headers=foreign)).status_code == 403
