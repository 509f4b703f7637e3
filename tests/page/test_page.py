"""The page in a real browser: from the first visit to a daemon that is killed."""

import json
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from poller.store.store import Store
from poller.tracking import registration
from poller.tracking.observe import observe
from poller.tracking.registration import Registration
from poller.tracking.watch import AccountScope, NextPoll
from tests.fakes.api import ACCOUNT, FakeApi, operation, operation_id
from tests.fakes.process import eventually
from tests.fakes.receiver import Answer, Receiver
from tests.page.conftest import OpenDesk, shoot
from tests.store.scenes import POLICY, seen

pytestmark = pytest.mark.slow

A, B, C = (operation_id(number) for number in range(1, 4))
TOKEN = "token-of-the-control-api"
# what a test of accessibility may not find: WCAG 2.1 at level AA, contrast included
RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}}


def register(url: str, name: str, *, token: str = "", **members: object) -> None:
    """Register an operation through the control API."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    answer = httpx.post(
        f"{url}/v1/operations", json={"id": name, **members}, headers=headers, trust_env=False
    )
    answer.raise_for_status()


def visible_rows(page: Page) -> dict[str, str]:
    """Read the rows that are in the window: the counters that each shows, by its whole id."""
    found: dict[str, str] = page.evaluate(
        """Object.fromEntries([...document.querySelectorAll('.row')].filter((row) => {
            const {top, bottom} = row.getBoundingClientRect();
            return top >= 0 && bottom <= innerHeight;
        }).map((row) => [
            row.querySelector('.id').title, row.querySelector('.numbers').textContent,
        ]))"""
    )
    return found


def assert_accessible(page: Page) -> None:
    """Let axe-core find nothing."""
    # what the browser's own driver may do: the page's policy would refuse an injected script
    found = Axe().run(page, options=RULES).response
    assert [
        (one["id"], [node["html"] for node in one["nodes"]]) for one in found["violations"]
    ] == []


def assert_no_stray_texts(page: Page) -> None:
    """Check that every text is in an element of its own: an omitted value leaves no text behind."""
    texts = page.evaluate(
        "[...document.querySelectorAll('main, section')].flatMap((one) => [...one.childNodes])"
        ".filter((node) => node.nodeType === Node.TEXT_NODE).map((node) => node.data)"
    )
    assert texts == []


def test_the_first_visit_says_what_to_do(desk: OpenDesk) -> None:
    """Nothing is watched yet: the page says how that changes, and loads nothing from elsewhere."""
    with desk() as open_desk:
        page = open_desk.visit()
        hosts: list[str] = []
        page.on("request", lambda request: hosts.append(urlsplit(request.url).netloc))
        page.reload()
        expect(page.get_by_text("Nothing is watched yet")).to_be_visible()
        expect(page.get_by_role("status").first).to_have_text("Live")
        assert set(hosts) == {urlsplit(open_desk.url).netloc}
        shoot(page, "empty")


def test_a_send_comes_alive_and_ends(desk: OpenDesk, api: FakeApi) -> None:
    """A row appears when it is registered, moves with its counters and shows its end."""
    api.script(A, [operation(A, "PROCESSING", total=100, queued=60, delivered=40)])
    with desk() as open_desk:
        page = open_desk.visit()
        expect(page.get_by_text("Nothing is watched yet")).to_be_visible()
        register(open_desk.url, A, labels={"campaign": "autumn"})
        row = page.locator(".row")
        expect(row).to_contain_text("40 of 100")
        expect(row).to_contain_text("campaign=autumn")
        expect(row).to_contain_text(A[-6:])
        api.script(A, [operation(A, "COMPLETED", updated=9, total=100, delivered=97, failed=3)])
        expect(row).to_contain_text("100 of 100, 3 failed")
        expect(row).to_contain_text("completed")
        expect(row).to_contain_text("ended")
        shoot(page, "list")
        row.locator("a").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(A)
        expect(page.locator(".timeline")).to_contain_text("operation.completed")
        expect(page.locator(".timeline")).to_contain_text("failed +3")
        expect(page.locator("svg.plot")).to_be_visible()
        shoot(page, "operation", whole=True)


def test_a_group_is_one_bar_and_has_one_end(desk: OpenDesk, api: FakeApi) -> None:
    """Its members add up; unsealed, it says how to seal it; its end is in its time line."""
    for name in (A, B):
        api.script(name, [operation(name, "COMPLETED", total=100, delivered=98, failed=2)])
    with desk() as open_desk:
        page = open_desk.visit("#/groups")
        expect(page.get_by_text("No groups yet")).to_be_visible()
        register(open_desk.url, A, group="autumn", labels={"campaign": "autumn"})
        register(open_desk.url, B, group="autumn", labels={"campaign": "autumn"})
        card = page.locator(".card")
        expect(card).to_contain_text("200 of 200, 4 failed")
        expect(card).to_contain_text("2 of 2 operations ended")
        page.get_by_role("link", name="autumn").click()
        expect(page.get_by_text("poller group seal autumn")).to_be_visible()
        assert_accessible(page)
        httpx.post(f"{open_desk.url}/v1/groups/autumn/seal", json={}, trust_env=False)
        expect(page.locator(".heading")).to_contain_text("ended")
        expect(page.locator(".timeline")).to_contain_text("group.completed")
        expect(page.locator(".timeline")).to_contain_text("0 of 1 operation ended")
        expect(page.locator(".timeline")).to_contain_text("2 of 2 operations ended")
        assert_no_stray_texts(page)
        shoot(page, "group", whole=True)
        page.get_by_role("link", name="Show its 2 operations").click()
        expect(page.locator(".row")).to_have_count(2)


def test_filters_are_in_the_address(desk: OpenDesk, api: FakeApi) -> None:
    """A filtered view has an address of its own, which another tab can open."""
    api.script(A, [operation(A, "PROCESSING", total=10, queued=10)])
    api.script(B, [operation(B, "COMPLETED", total=10, delivered=10)])
    with desk() as open_desk:
        register(open_desk.url, A, labels={"campaign": "autumn"})
        register(open_desk.url, B, labels={"campaign": "winter"})
        page = open_desk.visit()
        expect(page.locator(".row")).to_have_count(2)
        page.get_by_label("Phase").select_option("ended")
        expect(page.locator(".row")).to_have_count(1)
        expect(page.locator(".row")).to_contain_text("winter")
        other = open_desk.visit(urlsplit(page.url).fragment and f"#{urlsplit(page.url).fragment}")
        expect(other.locator(".row")).to_have_count(1)
        other.get_by_role("button", name="Clear").click()
        expect(other.locator(".row")).to_have_count(2)
        search = other.get_by_label("Search by id or label")
        search.fill("AUTUMN")
        search.press("Enter")
        expect(other.locator(".row")).to_have_count(1)
        expect(other.locator(".row")).to_contain_text("autumn")
        search = other.get_by_label("Search by id or label")
        search.fill("nothing like it")
        search.press("Enter")
        expect(other.get_by_text("Nothing matches these filters")).to_be_visible()


def test_a_token_is_asked_for_and_kept_in_the_tab(desk: OpenDesk, api: FakeApi) -> None:
    """A wrong token is refused with a reason; the right one opens everything, also live."""
    api.script(A, [operation(A, "PROCESSING", total=100, queued=60, delivered=40)])
    with desk(POLLER_SERVER__TOKEN=TOKEN) as open_desk:
        page = open_desk.visit()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_be_visible()
        shoot(page, "token")
        dialog.get_by_label("Token").fill("wrong")
        dialog.get_by_role("button").click()
        expect(dialog).to_contain_text("refuses this token")
        dialog.get_by_label("Token").fill(TOKEN)
        dialog.get_by_role("button").click()
        expect(dialog).to_be_hidden()
        register(open_desk.url, A, token=TOKEN)
        expect(page.locator(".row")).to_contain_text("40 of 100")
        page.reload()
        expect(page.locator(".row")).to_contain_text("40 of 100")
        assert page.evaluate("Object.keys(localStorage).length") == 0
        assert page.context.cookies() == []
        assert TOKEN not in page.url


def test_a_failed_webhook_is_explained_and_replayed(desk: OpenDesk, api: FakeApi) -> None:
    """The time line says which delivery waits and why; the sink's card too; Replay sends again."""
    api.script(A, [operation(A, "COMPLETED", total=10, delivered=10)])
    with Receiver(default=Answer(status=400)) as receiver:
        sinks = json.dumps({"app": {"type": "webhook", "url": receiver.url}})
        with desk(POLLER_SINKS=sinks) as open_desk:
            register(open_desk.url, A)
            page = open_desk.visit(f"#/operations/{A}")
            deliveries = page.locator(".deliveries").first
            expect(deliveries).to_contain_text("waiting")
            expect(deliveries).to_contain_text("answered 400")
            shoot(page, "failed-webhook", whole=True)
            page.get_by_role("link", name="Sinks").click()
            expect(page.locator(".card")).to_contain_text("rejecting")
            expect(page.locator(".card")).to_contain_text("answered 400")
            expect(page.locator("#degraded")).to_contain_text("sink app")
            expect(page.locator("#degraded")).not_to_contain_text("`")
            shoot(page, "sinks")
            assert_accessible(page)
            receiver.answer_next(*[Answer(status=204)] * 20)
            page.goto(f"{open_desk.url}/#/operations/{A}")
            page.get_by_role("button", name="Replay").first.click()
            expect(page.locator("#toast")).to_contain_text("Sent again to app")
            expect(page.locator(".deliveries").first).to_contain_text("delivered")


def test_a_daemon_that_was_killed_is_found_again(desk: OpenDesk, api: FakeApi) -> None:
    """The page says that it waits, reconnects by itself and has missed nothing."""
    api.script(A, [operation(A, "PROCESSING", total=100, queued=60, delivered=40)])
    with desk() as first:
        register(first.url, A)
        page = first.visit()
        state = page.locator("#connection")
        expect(page.locator(".row")).to_contain_text("40 of 100")
        expect(state).to_have_text("Live")
        first.daemon.kill()
        expect(state).to_have_text("Reconnecting…")
        api.script(A, [operation(A, "COMPLETED", updated=9, total=100, delivered=100)])
        with desk(port=str(urlsplit(first.url).port)):
            expect(state).to_have_text("Live", timeout=20_000)
            expect(page.locator(".row")).to_contain_text("100 of 100")


def test_hostile_texts_stay_texts(desk: OpenDesk, api: FakeApi) -> None:
    """Markup in labels and in error texts of a receiver is shown, never run."""
    hostile = (
        "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
    )
    api.script(A, [operation(A, "COMPLETED", total=10, delivered=10)])
    body = hostile.encode()
    with Receiver(default=Answer(status=400, body=body)) as receiver:
        sinks = json.dumps({"app": {"type": "webhook", "url": receiver.url}})
        with desk(POLLER_SINKS=sinks) as open_desk:
            register(open_desk.url, A, labels={"campaign": hostile})
            page = open_desk.visit()
            expect(page.locator(".row")).to_contain_text("<img src=x")
            page.locator(".row a").click()
            expect(page.get_by_role("heading", level=1)).to_have_text(A)
            expect(page.locator(".heading")).to_contain_text("<script>")
            page.goto(f"{open_desk.url}/#/operations/comms_operation_%3Cscript%3E")
            expect(page.get_by_role("heading", level=1)).to_have_text("Not known here")
            assert "taken" not in page.title()
            assert page.locator("main img, main script").count() == 0


def test_ten_thousand_operations_stay_smooth(desk: OpenDesk, api: FakeApi, tmp_path: Path) -> None:
    """The first rows come at once, few are elements, and the rows that move are the right ones.

    The newest 200 of them move and rest in turn, so that visible rows are of both sorts.
    """
    newest = [operation_id(number) for number in range(9_800, 10_000)]
    moving = set(newest[::2])
    for name in moving:
        api.script(name, [_step(name, step) for step in range(200)])
    with ThreadPoolExecutor(1) as beside:  # Playwright runs an event loop in this thread
        beside.submit(anyio.run, _fill_store, tmp_path / "poller.db", api, moving).result()
    with desk(
        POLLER_POLLING__SWEEP="off",
        POLLER_POLLING__MIN_INTERVAL="1s",
        POLLER_POLLING__MAX_INTERVAL="2s",
        POLLER_API__REQUESTS_PER_SECOND="100",
    ) as open_desk:
        page = open_desk.visit()
        expect(page.locator(".row").first).to_be_visible()
        painted = page.evaluate(
            "performance.getEntriesByName('first-contentful-paint')[0].startTime"
        )
        eventually(lambda: all(api.count(name) for name in moving))
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable")

        def scripting() -> float:
            found = session.send("Performance.getMetrics")["metrics"]
            return float(next(one["value"] for one in found if one["name"] == "ScriptDuration"))

        first, before, began = visible_rows(page), scripting(), time.monotonic()
        polls, polled, moved = len(api.requests), set[str](), set[str]()
        while time.monotonic() < began + 30 and not (
            polled == moving and moved == first.keys() & moving
        ):
            page.wait_for_timeout(5000)
            second = visible_rows(page)
            assert second.keys() == first.keys() <= set(newest)
            moved = {name for name in first if first[name] != second[name]}
            polled = {path.rpartition("/")[2] for path in api.requests[polls:]}
        share = (scripting() - before) / (time.monotonic() - began)
        assert moved == first.keys() & moving
        assert len(moved) >= 5
        # those out of the window moved meanwhile, too
        assert polled == moving
        assert page.locator(".row").count() < 60
        for _ in range(30):
            page.mouse.wheel(0, 20_000)
            page.wait_for_timeout(100)
        assert page.locator(".row").count() < 60
        shoot(page, "ten-thousand")
        assert painted < 1000, painted
        assert share < 0.2, share


def _step(name: str, step: int) -> dict[str, object]:
    """Make the answer of a send that delivers one message between two polls."""
    return operation(name, "PROCESSING", updated=step, total=999, queued=999 - step, delivered=step)


async def _fill_store(path: Path, api: FakeApi, moving: Collection[str]) -> None:
    """Put 10,000 operations into a new store: `moving` are due, the others in an hour."""
    now = datetime.now(UTC)
    scope = AccountScope(account=ACCOUNT, base_url=api.base_url)
    watches = []
    for number in range(10_000):
        name = operation_id(number)
        at = now - timedelta(seconds=10_000 - number)
        watch, *_ = registration.register(
            None, Registration(id=name, kind="messages"), scope=scope, now=at
        )
        if name not in moving:
            answer = seen(name, at=at, stats={"total": 999, "queued": 499, "delivered": 500})
            watch = observe(watch, answer, policy=POLICY, now=at, jitter=0).watch
            due = NextPoll(wait=3600, due_at=now + timedelta(hours=1), set_at=now)
            watch = watch.evolve(next_poll=due)
        watches.append(watch)
    store = await Store.open(f"sqlite:///{path}", scope)
    await store.add_watches(watches)
    await store.aclose()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible_and_fits_a_phone(desk: OpenDesk, api: FakeApi, scheme: str) -> None:
    """No violation of WCAG AA in list, detail and empty views; nothing is wider than a phone."""
    api.script(A, [operation(A, "PROCESSING", total=900, queued=300, sent=200, delivered=400)])
    api.script(B, [operation(B, "COMPLETED", total=90, delivered=70, failed=10, undelivered=10)])
    with desk() as open_desk:
        register(open_desk.url, A, labels={"campaign": "autumn" * 10})
        register(open_desk.url, B)
        for name, address in {
            "list": "",
            "operation": f"#/operations/{B}",
            "sinks": "#/sinks",
            "dead-letters": "#/dead-letters",
            "no-match": "#/operations?search=x",
        }.items():
            page = open_desk.visit(address, width=390, height=800, scheme=scheme)
            expect(page.locator("#connection")).to_have_text("Live")
            page.wait_for_timeout(300)
            assert_accessible(page)
            assert_no_stray_texts(page)
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= 390, address
            shoot(page, f"phone-{scheme}-{name}", whole=True)
            page.close()


def test_it_works_by_keyboard(desk: OpenDesk, api: FakeApi) -> None:
    """Tab reaches the rows, Enter opens one, and the link back leads to the list."""
    api.script(A, [operation(A, "COMPLETED", total=10, delivered=10)])
    with desk() as open_desk:
        register(open_desk.url, A)
        page = open_desk.visit()
        expect(page.locator(".row")).to_have_count(1)
        for _ in range(20):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.closest('.row') !== null"):
                break
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text(A)
        page.get_by_role("link", name="← Operations").press("Enter")
        expect(page.locator(".row")).to_have_count(1)


def test_a_tab_in_the_background_holds_no_connection(desk: OpenDesk, api: FakeApi) -> None:
    """Hidden, it reads nothing; shown again, it goes on where it was."""
    api.script(A, [operation(A, "PROCESSING", total=100, queued=60, delivered=40)])
    with desk() as open_desk:
        register(open_desk.url, A)
        page = open_desk.visit()
        expect(page.locator(".row")).to_contain_text("40 of 100")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.evaluate(
            "Object.defineProperty(document, 'hidden', {value: true, configurable: true});"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )
        page.wait_for_timeout(500)
        asked.clear()
        api.script(A, [operation(A, "COMPLETED", updated=9, total=100, delivered=100)])
        page.wait_for_timeout(3000)
        assert asked == []
        page.evaluate(
            "Object.defineProperty(document, 'hidden', {value: false, configurable: true});"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )
        expect(page.locator(".row")).to_contain_text("100 of 100")
