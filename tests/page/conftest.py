"""A real browser in front of a real daemon; without a browser these tests are skipped."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from tests.fakes.api import FakeApi
from tests.fakes.process import Poller, eventually

SHOTS = Path(__file__).parent / "screenshots"
_FLAGS = (
    "--no-sandbox",  # the tests may run as root
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
_FAST = {
    "POLLER_API__REQUESTS_PER_SECOND": "500",
    "POLLER_POLLING__MIN_INTERVAL": "50ms",
    "POLLER_POLLING__MAX_INTERVAL": "300ms",
    "POLLER_POLLING__PROGRESS_INTERVAL": "0s",
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium once for a module: its event loop must not outlive it."""
    program = os.environ.get("POLLER_TEST_BROWSER") or shutil.which("chromium")
    if program is None:
        if os.environ.get("POLLER_TEST_REQUIRE_BROWSER") == "1":
            pytest.fail("POLLER_TEST_REQUIRE_BROWSER is 1, but there is no chromium")
        pytest.skip("no chromium; tests/browser.sh installs it")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=_FLAGS)
        yield started
        started.close()


@pytest.fixture
def api() -> Iterator[FakeApi]:
    """Give a scripted API."""
    with FakeApi() as server:
        yield server


class Desk:
    """A daemon with its page, and a browser that fails the test when its console has an error."""

    def __init__(self, browser: Browser, daemon: Poller) -> None:
        self._browser = browser
        self.daemon = daemon
        self.faults: list[str] = []
        [listening] = daemon.logged("server.listening")
        self.url: str = listening["address"]

    def visit(
        self, address: str = "", *, width: int = 1280, height: int = 800, scheme: str = "light"
    ) -> Page:
        """Open a tab."""
        context = self._browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if scheme == "dark" else "light",
        )
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.goto(f"{self.url}/{address}")
        return page

    def _hear(self, message: ConsoleMessage) -> None:
        # a browser reports each answer that is no success, also those that the page handles
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.faults.append(message.text)


OpenDesk = Callable[..., AbstractContextManager[Desk]]


@pytest.fixture
def desk(browser: Browser, api: FakeApi, tmp_path: Path) -> OpenDesk:
    """Return what runs a daemon and a browser, given settings as variables."""

    @contextmanager
    def running(*, port: str = "0", **environment: str) -> Iterator[Desk]:
        variables: Mapping[str, str] = {
            **api.environment,
            **_FAST,
            "POLLER_SERVER__LISTEN": f"127.0.0.1:{port}",
            **environment,
        }
        with Poller("run", cwd=tmp_path, environment=variables) as daemon:
            eventually(lambda: bool(daemon.logged("server.listening")))
            opened = Desk(browser, daemon)
            yield opened
            for context in browser.contexts:
                context.close()
            assert opened.faults == []

    return running


def shoot(page: Page, name: str, *, whole: bool = False) -> None:
    """Keep a picture of the window, or of the whole page, for people to look at."""
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png", full_page=whole)
