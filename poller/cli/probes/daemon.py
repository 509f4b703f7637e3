"""Checks of the store, and of current trouble: from the running daemon, else from the store."""

from dataclasses import replace
from functools import partial
from typing import Any, Final

from anyio import to_thread

from poller.cli.probes.report import Finding
from poller.clock import wall_clock
from poller.control.address import Address, listening_address
from poller.control.client import ControlClient
from poller.control.errors import BadAddress, ControlError
from poller.control.probe import ask
from poller.engine.status import sink_trouble
from poller.server.views import show_degraded
from poller.settings import Settings
from poller.store.errors import StoreError
from poller.store.migrate import Condition, inspect_sinks, inspect_store
from poller.store.migrations import HEAD
from poller.text import counted
from poller.tracking.watch import AccountScope

_SUBJECT: Final = "store"


async def probe_store(settings: Settings) -> tuple[Finding, Condition | None]:
    """Inspect the store; the condition is None if no daemon could use it."""
    url = settings.store.url
    try:
        condition = await to_thread.run_sync(inspect_store, url.get_secret_value())
    except StoreError as error:
        # the remedy follows the last semicolon of the message
        message, _, fix = str(error).removeprefix("store.url: ").rpartition("; ")
        usual = "check store.url, and that the database runs"
        finding = Finding.problem(
            _SUBJECT,
            message or fix,
            fix=fix if message else usual,
            is_usage=error.needs_change,
        )
        return finding, None
    return Finding.ok(_SUBJECT, f"{url}: {_describe(condition)}"), condition


def _describe(condition: Condition) -> str:
    if not condition.exists:
        return "does not exist yet, `poller run` creates it"
    if not condition.revision:
        state = "empty, `poller run` creates its tables"
    elif condition.is_current:
        state = f"schema {condition.revision}, current"
    else:
        state = f"schema {condition.revision}, `poller run` migrates it to {HEAD}"
    if condition.holder is None:
        return state
    return f"{state}; in use by the running daemon (pid {condition.holder})"


_TIMEOUT: Final = 5.0
_REPLAY: Final = "`poller dead-letters` lists them, `poller replay` sends them again"


async def probe_operation(settings: Settings, condition: Condition | None) -> list[Finding]:
    """Query the daemon at `server.listen`; if none answers, read the store. Changes nothing.

    `condition` is that of the store, None if it cannot be used.
    """
    try:
        address = listening_address(settings.server.listen)
        if address is not None:
            readiness = await to_thread.run_sync(partial(ask, address, "/readyz", timeout=_TIMEOUT))
            return await _ask_daemon(address, settings, *readiness)
    except (BadAddress, ControlError):
        pass  # no daemon answers: probably none is running
    if condition is None or not condition.is_current:
        return []
    try:
        return await to_thread.run_sync(_read_store, settings)
    except StoreError:
        return []  # `probe_store` reports why


async def _ask_daemon(
    address: Address, settings: Settings, status: int, readiness: dict[str, Any]
) -> list[Finding]:
    where = f"the daemon at {address}"
    if readiness.get("status") not in {"ready", "degraded", "unready"}:
        answer = readiness.get("hint") or f"it answered {status}"
        fix = f"{answer}; if it is another program, set server.listen"
        return [Finding.warning("daemon", f"{where} does not report its state", fix=fix)]
    found = []
    if readiness["status"] == "unready":
        found.append(
            Finding.problem(
                "daemon",
                f"{where} cannot accept registrations: {readiness['reason']}",
                fix="see its log; `poller health --ready` checks again",
            )
        )
    found += [_trouble(one["what"], one["hint"], one["since"]) for one in readiness["degraded"]]
    try:
        async with ControlClient(address, token=settings.server.token) as client:
            dead = {sink["name"]: sink["dead"] for sink in await client.sinks()}
    except ControlError as error:
        message, _, fix = str(error).rpartition("; ")
        return [*found, Finding.warning("daemon", message or fix, fix=fix)]
    found += [_dead_letters(sink, number) for sink, number in dead.items() if number]
    return found or [Finding.ok("daemon", f"{where} is healthy, nothing is degraded")]


def _read_store(settings: Settings) -> list[Finding]:
    scope = AccountScope(account=settings.account, base_url=settings.api.base_url)
    reports = [
        # as a daemon with these settings would report it
        replace(report, is_configured=report.name in settings.sinks)
        for report in inspect_sinks(settings.store.url.get_secret_value(), scope)
    ]
    trouble = sink_trouble(reports, closed=(), started_at=wall_clock())
    found = [
        _trouble(one["what"], one["hint"], one["since"]) for one in map(show_degraded, trouble)
    ]
    return found + [_dead_letters(report.name, report.dead) for report in reports if report.dead]


def _trouble(what: str, hint: str, since: str) -> Finding:
    message, _, fix = hint.rpartition("; ")
    subject = f"sinks.{name}" if (name := what.removeprefix("sink ")) != what else "daemon"
    text = message or fix
    if subject == "daemon":
        text = f"{what}: {text}"
    return Finding.problem(subject, f"{text} (since {since})", fix=fix if message else None)


def _dead_letters(sink: str, number: int) -> Finding:
    return Finding.warning(
        f"sinks.{sink}", f"{counted(number, 'event')} given up (dead letters)", fix=_REPLAY
    )
