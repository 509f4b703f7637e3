"""A poller inside a program: a good guest, and the same store as the daemon's."""

import asyncio
import json
import logging
import signal
import sqlite3
import sys
from contextlib import aclosing
from pathlib import Path
from textwrap import indent
from typing import Any, Final

import anyio
import pytest
import structlog
from jsonschema import Draft202012Validator

import poller
from poller.store.errors import StoreInUse, StoreUnavailable
from poller.store.store import Store
from poller.tracking.event import load_event_schema
from tests.library.conftest import Stage

pytestmark = pytest.mark.anyio

ROOT: Final = Path(__file__).parents[2]
VALIDATOR: Final = Draft202012Validator(load_event_schema())


async def test_it_touches_nothing_of_the_program(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither logs nor signals nor output; and no variable is read but those for every program."""
    structlog.reset_defaults()
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "of another account")
    monkeypatch.setenv("POLLER_API__BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("POLLER_NONSENSE", "1")
    before = _global_state()
    async with stage.embedded() as embedded:
        assert _global_state() == before
        sent = stage.send()
        await embedded.watch(sent.id)
        await embedded.wait(sent.id, timeout=20)
        assert embedded.address is None
    assert _global_state() == before
    assert capfd.readouterr() == ("", "")


def _global_state() -> object:
    root = logging.getLogger()
    library = logging.getLogger("poller")
    return (
        structlog.is_configured(),
        [*root.handlers],
        root.level,
        [*library.handlers],
        library.level,
        logging.getLogger("httpx").level,
        {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)},
        asyncio.get_running_loop().get_exception_handler(),
    )


async def test_two_in_one_program(stage: Stage) -> None:
    """Each has a store of its own; the same one is refused."""
    async with stage.embedded("one") as one, stage.embedded("two") as two:
        first, second = stage.send(), stage.send()
        await one.watch(first.id)
        await two.watch(second.id)
        await one.wait(first.id, timeout=20)
        await two.wait(second.id, timeout=20)
        with pytest.raises(poller.NotWatched):
            await one.wait(second.id)
        with pytest.raises(StoreInUse):
            async with stage.embedded("one"):
                pytest.fail("it has begun")
        # the one that was refused disturbed nobody
        third = stage.send()
        await one.watch(third.id)
        assert (await one.wait(third.id, timeout=20)).final


async def test_what_the_program_raises_comes_out_as_it_is(stage: Stage) -> None:
    """Not within a group; and the store is free again."""
    with pytest.raises(ZeroDivisionError):
        async with stage.embedded():
            _ = 1 / 0
    with pytest.raises(SystemExit):
        async with stage.embedded():
            sys.exit(3)
    with pytest.raises(pytest.skip.Exception):
        async with stage.embedded():
            pytest.skip("no account")
    async with stage.embedded():
        pass


async def test_a_cancelled_program_leaves_a_store_that_can_be_used(stage: Stage) -> None:
    """Whatever was under way, the next start goes on."""
    sent = stage.send(300)
    with anyio.move_on_after(0.5) as scope:
        async with stage.embedded() as embedded:
            await embedded.watch(sent.id)
            await embedded.wait(sent.id)
    assert scope.cancelled_caught
    async with stage.embedded() as embedded:
        assert not await embedded.watch(sent.id)
        assert (await embedded.wait(sent.id, timeout=20)).final


async def test_those_who_wait_and_follow_learn_that_it_stops(stage: Stage) -> None:
    """A wait raises, a stream ends after what was recorded, and later calls are refused."""
    slow = stage.send(10_000)
    seen: list[str] = []

    async def follow(embedded: poller.Poller) -> None:
        async with aclosing(embedded.events(from_oldest=True)) as events:
            seen.extend([event.subject async for event in events])

    async def wait(embedded: poller.Poller) -> None:
        with pytest.raises(poller.PollerClosed):
            await embedded.wait(slow.id)

    async with anyio.create_task_group() as tasks, stage.embedded() as embedded:
        await embedded.watch(slow.id)
        tasks.start_soon(follow, embedded)
        tasks.start_soon(wait, embedded)
        await anyio.sleep(0.5)
    assert slow.id in seen
    with pytest.raises(poller.PollerClosed):
        await embedded.watch(slow.id)
    with pytest.raises(RuntimeError):
        async with embedded:
            pytest.fail("it has begun again")


async def test_waiting_outlasts_an_outage_of_the_store(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wait asks again; a registration says that it is not acknowledged."""
    monkeypatch.setattr("poller.library.embedded._RETRY_SECONDS", 0.05)
    sent = stage.send()
    async with stage.embedded() as embedded:
        await embedded.watch(sent.id)
        await embedded.wait(sent.id, timeout=20)
        find, failures = Store.find_operation, 0

        async def unavailable(store: Store, watched: str, *, latest: int) -> object:
            nonlocal failures
            failures += 1
            if failures < 3:
                raise StoreUnavailable("store.url: it does not answer")
            return await find(store, watched, latest=latest)

        monkeypatch.setattr(Store, "find_operation", unavailable)
        assert (await embedded.wait(sent.id, timeout=20)).final
        assert failures == 3


async def test_an_end_that_retention_took_is_not_waited_for(stage: Stage, tmp_path: Path) -> None:
    """It says so, in place of waiting for ever."""
    sent = stage.send()
    async with stage.embedded() as embedded:
        await embedded.watch(sent.id)
        await embedded.wait(sent.id, timeout=20)
    with sqlite3.connect(tmp_path / "poller.db") as database:
        database.execute("DELETE FROM events")
    database.close()
    async with stage.embedded() as embedded:
        with pytest.raises(poller.EventsGone, match=sent.id):
            await embedded.wait(sent.id, timeout=20)


async def test_sinks_and_a_listener_are_there_where_they_are_given(
    stage: Stage, tmp_path: Path
) -> None:
    """As in a configuration file."""
    path = tmp_path / "events.ndjson"
    sinks = {"archive": {"type": "file", "path": str(path), "events": ["final"]}}
    sent = stage.send()
    async with stage.embedded(sinks=sinks, server={"listen": "127.0.0.1:0"}) as embedded:
        await embedded.watch(sent.id)
        final = await embedded.wait(sent.id, timeout=20)
        assert embedded.address is not None
        assert embedded.address.startswith("http://127.0.0.1:")
    assert path.read_text() == final.body + "\n"


async def test_a_trace_is_carried_on(stage: Stage, tmp_path: Path) -> None:
    """Kept over a restart, in each event and in the file, and replaced by a later registration."""
    first = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    second = "00-4bf92f3577b34da6a3ce929d0e0e4736-b7ad6b7169203331-00"
    sinks = {"archive": {"type": "file", "path": str(tmp_path / "events.ndjson")}}
    sent = stage.send(1500)
    async with stage.embedded(sinks=sinks) as embedded:
        await embedded.watch(sent.id, traceparent=first, tracestate="vendor=value, other=1")
        async with aclosing(embedded.events(id=sent.id, from_oldest=True)) as events:
            begun = await anext(events)
    assert begun.trace is not None
    assert begun.trace.members == {"traceparent": first, "tracestate": "vendor=value, other=1"}
    async with stage.embedded(sinks=sinks) as embedded:
        # without one the known trace stays
        await embedded.watch(sent.id, labels={"campaign": "autumn"})
        await embedded.watch(sent.id, traceparent=second)
        final = await embedded.wait(sent.id, timeout=20)
        assert final.trace is not None
        assert final.trace.members == {"traceparent": second}
        with pytest.raises(poller.BadRegistration, match=r"^traceparent: must be like 00-"):
            await embedded.watch(sent.id, traceparent="00-4bf9")
    written = [json.loads(line) for line in (tmp_path / "events.ndjson").read_text().splitlines()]
    assert written[0]["traceparent"] == first
    assert written[0]["tracestate"] == "vendor=value, other=1"
    for event in written:
        VALIDATOR.validate(event)


@pytest.mark.parametrize(
    ("tables", "field"),
    [
        ({"polling": {"max_intervall": "1s"}}, "polling.max_interval"),
        ({"polling": {"settle": "soon"}}, "polling.settle"),
        ({"log": {"level": "debug"}}, "log"),
        ({"api": {"base_url": "http://127.0.0.1:1/v1"}}, "api.base_url"),
        ({"store": {"url": "sqlite:///y.db"}}, "store.url"),
        ({"sinks": {"app": {"type": "webhook"}}}, "sinks.app.url"),
    ],
)
def test_bad_settings_are_named(tables: dict[str, dict[str, object]], field: str) -> None:
    """At once, before anything is opened."""
    with pytest.raises(poller.SettingsError) as raised:
        poller.Poller(
            account_sid="AC1", auth_token="hunter22", store="sqlite:///x.db", settings=tables
        )
    assert field in str(raised.value)
    assert "hunter22" not in str(raised.value)


def test_credentials_are_asked_for_as_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is not read, so its variables are no remedy."""
    monkeypatch.setenv("TWILIO_ACCOUNT_SID", "AC1")
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "hunter22")
    with pytest.raises(poller.SettingsError, match="pass account_sid and auth_token") as raised:
        poller.Poller(store="sqlite:///x.db")
    assert "TWILIO" not in str(raised.value)


def test_trio_is_refused_with_the_way_out(tmp_path: Path) -> None:
    """The store's threads need asyncio; the connection to a daemon does not."""
    made = poller.Poller(
        account_sid="AC1", auth_token="hunter22", store=f"sqlite:///{tmp_path / 'x.db'}"
    )

    async def begin() -> None:
        async with made:
            pytest.fail("it has begun")

    with pytest.raises(RuntimeError, match=r"needs asyncio, not trio; .* poller\.connect"):
        anyio.run(begin, backend="trio")
    assert not (tmp_path / "x.db").exists()


async def test_the_lines_of_the_readme_run_as_they_stand(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the address of the API is another one."""
    sections = (ROOT / "README.md").read_text().partition("## Inside your program\n")[2]
    block = sections.partition("```python\n")[2].partition("```")[0]
    assert len(block.splitlines()) == 3
    defaults = poller.Poller.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "base_url", stage.base_url)
    monkeypatch.chdir(tmp_path)
    sent = stage.send()
    names: dict[str, Any] = {
        "poller": poller,
        "sid": stage.account["account_sid"],
        "token": stage.account["auth_token"],
        "operation_id": sent.id,
    }
    code = f"async def run():\n{indent(block, '    ')}    return final\n"
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102 - this is what is tested
    final = await names["run"]()
    assert (final.subject, final.type) == (sent.id, "operation.completed")
    assert final.counters["total"] == 5
    assert (tmp_path / "poller.db").exists()
