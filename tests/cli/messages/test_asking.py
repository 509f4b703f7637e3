"""Asking the API beside a daemon: the pace, and what is asked again."""

import anyio
import pytest

from poller.cli.messages.asking import Asker
from poller.comms.errors import CommsError, NonsensicalAnswer, NotFound, ServerError, Throttled

pytestmark = pytest.mark.anyio


class Scripted:
    """A request that fails as it is told, then succeeds; remembers when it was made."""

    def __init__(self, *errors: CommsError) -> None:
        self._errors = list(errors)
        self.times: list[float] = []

    async def __call__(self) -> str:
        """Make the request."""
        self.times.append(anyio.current_time())
        if self._errors:
            raise self._errors.pop(0)
        return "answer"


def throttled(retry_after: float | None) -> Throttled:
    """Return a 429."""
    return Throttled("list errors", "the API answered 429", status=429, retry_after=retry_after)


async def test_the_pace_is_kept() -> None:
    """Whatever is asked, and again: no faster than told, but for half an interval that is owed."""
    request = Scripted(throttled(0.0))
    asker = Asker(per_second=20, say=lambda _text: None)
    for _ in range(3):
        assert await asker.ask(request) == "answer"
    assert len(request.times) == 4
    assert request.times[-1] - request.times[0] >= 3 / 20 - 1 / 40 - 0.02


@pytest.mark.parametrize(
    "error",
    [
        throttled(61.0),
        NotFound("fetch", "the API answered 404", status=404),
        NonsensicalAnswer("fetch", "is no operation", status=200),
    ],
)
async def test_what_waiting_does_not_help_is_not_asked_again(error: CommsError) -> None:
    """Nor what asks for a wait of over a minute."""
    request = Scripted(error)
    with pytest.raises(type(error)):
        await Asker(per_second=10_000, say=lambda _text: None).ask(request)
    assert len(request.times) == 1


async def test_it_gives_up_after_five_tries() -> None:
    """And says at each of them but the last what it waits for."""
    said: list[str] = []
    request = Scripted(*(throttled(0.0) for _ in range(9)))
    with pytest.raises(Throttled):
        await Asker(per_second=10_000, say=said.append).ask(request)
    assert len(request.times) == 5
    assert said == ["list errors: the API answered 429; asking again in 0 s"] * 4


async def test_without_retry_after_it_waits_a_second_first() -> None:
    """Then twice as long, and so on."""
    said: list[str] = []
    request = Scripted(ServerError("fetch", "the API answered 500", status=500))
    assert await Asker(per_second=10_000, say=said.append).ask(request) == "answer"
    assert said == ["fetch: the API answered 500; asking again in 1 s"]
    assert request.times[1] - request.times[0] >= 0.99
