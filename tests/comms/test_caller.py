"""Calling the API: what is sent again, how long it waits, and what is known of an outage."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import cast

import anyio
import pytest

from poller.comms.caller import ApiCaller, Failing, failing_after
from poller.comms.client import CommsClient
from poller.comms.errors import (
    CommsError,
    DeadlineExceeded,
    Forbidden,
    NetworkError,
    NonsensicalAnswer,
    NotFound,
    ServerError,
    Throttled,
    Unauthorized,
)
from poller.comms.throttle import Throttle
from tests.comms.scripted import CREDENTIALS, NOW, Clock

pytestmark = pytest.mark.anyio

LATER = NOW + timedelta(minutes=1)


class Requests:
    """Fails with these errors, one after the other, then succeeds; keeps when it was sent."""

    def __init__(self, *errors: CommsError) -> None:
        self._errors: Iterator[CommsError] = iter(errors)
        self.times: list[float] = []

    async def __call__(self, _client: CommsClient) -> str:
        """Send the request."""
        self.times.append(anyio.current_time())
        for error in self._errors:
            raise error
        return "answer"


class Unused:
    """A client that is only given credentials."""

    def use(self, _credentials: object) -> None:
        """Take them."""


def make(clock: Clock, *, rate: float = 10_000, **more: object) -> ApiCaller:
    """Return a caller whose throttle lets one request through at a time."""
    throttle = Throttle(max_concurrency=1, requests_per_second=rate, probe_interval=3600, now=clock)
    return ApiCaller(
        client=cast("CommsClient", Unused()),
        throttle=throttle,
        credentials=lambda: CREDENTIALS,
        now=clock,
        **more,  # type: ignore[arg-type] # what a test brings
    )


async def call(
    caller: ApiCaller, request: Requests, waiting: Callable[[CommsError, float], None]
) -> str:
    """Call with a bound, so that a test fails in place of waiting."""
    with anyio.fail_after(5):
        return await caller.call(request, kind="messages", waiting=waiting)


def throttled(retry_after: float | None) -> Throttled:
    """Return a 429."""
    return Throttled("list errors", "the API answered 429", status=429, retry_after=retry_after)


def never(error: CommsError, seconds: float) -> None:
    """Fail where the caller would wait."""
    pytest.fail(f"waits {seconds} s after {error}")


async def test_the_rate_is_kept(clock: Clock) -> None:
    """Between calls, but for half an interval that is owed."""
    request, caller = Requests(), make(clock, rate=20)
    for _ in range(4):
        assert await call(caller, request, never) == "answer"
    assert request.times[-1] - request.times[0] >= 3 / 20 - 1 / 40 - 0.02
    assert caller.good_answers == 4


@pytest.mark.parametrize(
    "error",
    [
        throttled(61.0),
        NotFound("fetch", "the API answered 404", status=404),
        NonsensicalAnswer("fetch", "is no operation", status=200),
        Unauthorized("fetch", "the API answered 401", status=401),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_request_is_not_repeated_where_waiting_does_not_help(
    clock: Clock, error: CommsError
) -> None:
    """Nor where the API asks to wait for over a minute."""
    request = Requests(error)
    with pytest.raises(type(error)):
        await call(make(clock), request, never)
    assert len(request.times) == 1


async def test_a_pause_grows_and_ends_the_call_after_five_tries(clock: Clock) -> None:
    """Without a usable Retry-After; each wait but the last is announced."""
    waits: list[float] = []

    def wait(_error: CommsError, seconds: float) -> None:
        waits.append(seconds)
        clock.advance(seconds)

    request = Requests(*(throttled(None) for _ in range(9)))
    with pytest.raises(Throttled):
        await call(make(clock), request, wait)
    assert len(request.times) == 5
    assert waits == [1, 2, 4, 8]


async def test_retry_after_is_heeded_up_to_a_minute(clock: Clock) -> None:
    """And the request is sent when the pause is over."""
    waits: list[float] = []

    def wait(_error: CommsError, seconds: float) -> None:
        waits.append(seconds)
        clock.advance(seconds)

    assert await call(make(clock), Requests(throttled(60.0)), wait) == "answer"
    assert waits == [60]


async def test_an_error_of_the_server_is_repeated_at_growing_distances(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The account is not paused, so the caller itself waits."""
    monkeypatch.setattr("poller.comms.caller._FIRST_WAIT", 0.02)
    waits: list[float] = []
    request = Requests(*(ServerError("fetch", "the API answered 500") for _ in range(2)))
    found = await call(make(clock), request, lambda _error, seconds: waits.append(seconds))
    assert (found, waits) == ("answer", [0.02, 0.04])
    assert request.times[2] - request.times[1] >= 0.04


async def test_a_command_does_not_wait_for_the_probe_of_a_refusal(clock: Clock) -> None:
    """What is called next is the probe: another part of the operation may be permitted."""
    caller, request = make(clock), Requests(Forbidden("list errors", "the API answered 403"))
    with pytest.raises(Forbidden):
        await call(caller, request, never)
    assert await call(caller, request, never) == "answer"


async def test_refusals_are_reported_and_pauses_kept(clock: Clock) -> None:
    """Each 401 and 403; the pause with every end of a request."""
    refused: list[CommsError] = []
    kept: list[tuple[bool, str, CommsError | None]] = []

    async def keep(change: object, *, kind: str, error: CommsError | None) -> None:
        kept.append((bool(getattr(change, "changed", None)), kind, error))

    caller = make(clock, refused=refused.append, keep_pauses=keep)
    error = Unauthorized("fetch", "the API answered 401", status=401)
    with pytest.raises(Unauthorized):
        await call(caller, Requests(error), never)
    assert await call(caller, Requests(), never) == "answer"
    assert refused == [error]
    assert kept == [(True, "messages", error), (True, "messages", None)]


@pytest.mark.parametrize(
    "error", [NetworkError("f", "x"), DeadlineExceeded("f", "x"), ServerError("f", "x")], ids=repr
)
def test_an_outage_lasts_since_its_first_failure(error: CommsError) -> None:
    """The first failure sets since, the last one the words; one answer ends it."""
    first = failing_after(None, error, NOW)
    assert first == Failing(since=NOW, error=str(error))
    second = failing_after(first, error, LATER)
    assert second == Failing(since=NOW, error=str(error))
    assert failing_after(second, None, LATER) is None


@pytest.mark.parametrize("kind", [NotFound, Unauthorized, Forbidden, Throttled])
def test_a_refusal_is_an_answer(kind: type[CommsError]) -> None:
    """404 speaks of one operation; pauses are reported by themselves."""
    assert failing_after(Failing(since=NOW, error="x"), kind("f", "x"), NOW) is None
