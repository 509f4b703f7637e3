"""The routes of the page: plain files, a strict policy, no token for what carries no data."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from poller.server import page as package
from tests.server.served import ServedDaemon

pytestmark = pytest.mark.anyio

FILES = sorted(
    file.name for file in Path(package.__file__).parent.iterdir() if file.suffix not in {".py", ""}
)


async def read(server: ServedDaemon, path: str, **options: Any) -> httpx.Response:  # noqa: ANN401 - as httpx
    """Get a path without a token."""
    return await server.client.get(path, **options)


async def test_it_needs_nothing_from_elsewhere(server: ServedDaemon) -> None:
    """No absolute URL, no script or style in the document, and less than 150 KB in all."""
    index = await read(server, "/")
    assert index.status_code == 200
    assert index.headers["content-type"] == "text/html; charset=utf-8"
    for word in ("://", "<style", "style=", "onclick", "<script>"):
        assert word not in index.text
    size = len(index.content)
    for name in FILES:
        found = await read(server, f"/page/{name}")
        assert found.status_code == 200
        assert len(found.content) > 0
        size += len(found.content)
    assert size < 150_000


@pytest.mark.parametrize("path", ["/", "/page/app.js", "/page/style.css"])
async def test_its_headers_are_strict(shared_server: ServedDaemon, path: str) -> None:
    """What a browser may do with it is said in full, also of its scripts."""
    headers = (await read(shared_server, path)).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "set-cookie" not in headers
    assert not [name for name in headers if name.startswith("access-control-")]


async def test_a_browser_reads_it_once(server: ServedDaemon) -> None:
    """The same file is not sent again."""
    first = await read(server, "/page/app.js")
    again = await read(server, "/page/app.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["none.js", "__init__.py", "..%2fapp.py", "%2e%2e/app.py"])
async def test_nothing_else_is_served(shared_server: ServedDaemon, name: str) -> None:
    """The package's own code and its neighbours are no part of the page."""
    assert (await read(shared_server, f"/page/{name}")).status_code == 404


async def test_it_asks_for_no_token_and_gives_no_data(build: Any) -> None:  # noqa: ANN401 - a factory
    """The page opens without the token; what it reads does not."""
    async with build(token="secret-token") as server:
        anonymous = {"authorization": ""}
        assert (await read(server, "/", headers=anonymous)).status_code == 200
        assert (await read(server, "/page/app.js", headers=anonymous)).status_code == 200
        assert (await read(server, "/v1/operations", headers=anonymous)).status_code == 401


@pytest.mark.parametrize("path", ["/", "/page/app.js"])
async def test_a_foreign_host_or_origin_gets_no_page(
    shared_server: ServedDaemon, path: str
) -> None:
    """A name that an attacker points at this machine opens nothing (DNS rebinding)."""
    assert (await read(shared_server, path, headers={"host": "evil.example"})).status_code == 403
    assert (
        await read(shared_server, path, headers={"origin": "http://evil.example"})
    ).status_code == 403
