"""The store, looked at the way a daemon would use it."""

from typing import Final

from anyio import to_thread

from poller.cli.probes.finding import Finding
from poller.settings import Settings
from poller.store.errors import StoreError
from poller.store.migrate import Condition, inspect_store
from poller.store.migrations import HEAD

__all__ = ["probe_store"]

_SUBJECT: Final = "store"


async def probe_store(settings: Settings) -> tuple[Finding, Condition | None]:
    """Look at the store; its condition is None where no daemon could use it."""
    url = settings.store.url
    try:
        condition = await to_thread.run_sync(inspect_store, url.get_secret_value())
    except StoreError as error:
        # one sentence says both, the remedy after the last semicolon
        message, _, fix = str(error).removeprefix("store.url: ").rpartition("; ")
        usual = "check store.url, and that the database runs"
        finding = Finding.problem(
            _SUBJECT,
            message or fix,
            fix=fix if message else usual,
            is_usage=error.needs_change,
        )
        return finding, None
    return Finding.ok(_SUBJECT, f"{url}: {_words(condition)}"), condition


def _words(condition: Condition) -> str:
    if not condition.exists:
        return "not there yet, `poller run` makes it"
    if not condition.revision:
        state = "empty, `poller run` makes its tables"
    elif condition.is_current:
        state = f"schema {condition.revision}, current"
    else:
        state = f"schema {condition.revision}, `poller run` migrates it to {HEAD}"
    if condition.holder is None:
        return state
    return f"{state}; in use by the running daemon (pid {condition.holder})"
