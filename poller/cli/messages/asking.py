"""Asks the API beside a daemon that shares the account: one request at a time, at its pace."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import anyio

from poller.comms.errors import (
    CommsError,
    DeadlineExceeded,
    Forbidden,
    NetworkError,
    NonsensicalAnswer,
    NotFound,
    Rejected,
    Throttled,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from poller.comms.gate import Pace
from poller.comms.kinds import KINDS

__all__ = ["Asker", "words_of"]

_TRIES: Final = 5
_FIRST_WAIT: Final = 1.0
_LONGEST_WAIT: Final = 60.0

Result = TypeVar("Result")


class Asker:
    """Asks at most `per_second` requests a second, and again where waiting may help.

    A `Retry-After` of up to a minute is heeded, and told to `say` before it is waited for.
    """

    def __init__(self, *, per_second: float, say: Callable[[str], None]) -> None:
        self._pace = Pace.of(per_second)
        self._say = say

    async def ask(self, request: Callable[[], Awaitable[Result]]) -> Result:
        """Return what `request` brings.

        :raises CommsError: where it is refused for good, or five times, or for over a minute.
        """
        for tries in range(1, _TRIES):
            try:
                return await self._ask_once(request)
            except CommsError as error:
                wait = _wait_after(error, tries)
                if wait is None:
                    raise
                self._say(f"{_sentence(error)}; asking again in {wait:.3g} s")
            await anyio.sleep(wait)
        return await self._ask_once(request)

    async def _ask_once(self, request: Callable[[], Awaitable[Result]]) -> Result:
        await anyio.sleep(self._pace.wait(anyio.current_time()))
        self._pace = self._pace.taken(anyio.current_time())
        return await request()


def words_of(error: CommsError) -> str:
    """Say what happened and what to do; the error's own remedies speak to a daemon."""
    return f"{_sentence(error)}; {_fix(error)}"


def _wait_after(error: CommsError, tries: int) -> float | None:
    """Return the seconds until the next try; None where there is to be none."""
    if not error.retryable or isinstance(error, NonsensicalAnswer | TooLarge):
        return None
    wait = error.retry_after
    if wait is None:
        return _FIRST_WAIT * 2.0 ** (tries - 1)
    return wait if wait <= _LONGEST_WAIT else None


def _sentence(error: CommsError) -> str:
    said = ": ".join(str(part) for part in (error.code, error.text) if part is not None)
    return f"{error.asked}: {error.happened}{f' ({said})' if said else ''}"


def _fix(error: CommsError) -> str:
    own = None if error.hint == error.remedy else error.hint
    match error:
        case Unauthorized():
            fix = "check the credentials; `poller check` says which are used"
        case Forbidden() | Rejected():
            fix = error.hint
        case NotFound():
            kinds = ", ".join(KINDS)
            fix = f"is it of another kind (--kind: {kinds}), another account, or over 7 days old?"
        case Throttled() | Unavailable():
            wait = "a minute" if error.retry_after is None else f"{error.retry_after:.0f} s"
            fix = f"try again in {wait}; the account as a whole asks too much, or the API is busy"
        case DeadlineExceeded():
            fix = "check the way to the API, or raise api.timeout"
        case NetworkError():
            fix = own or "check api.base_url and the way to it"
        case _:
            fix = own or "try again later; if it persists, check api.base_url"
    return fix
