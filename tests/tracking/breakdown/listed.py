"""An operation's lists as the API pages them, and a breakdown that reads them step by step."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from poller.tracking.breakdown.state import Breakdown
from poller.tracking.breakdown.steps import (
    ReadErrors,
    ReadMessage,
    ReadMessages,
    Request,
    after_errors,
    after_message,
    after_messages,
    request,
)
from poller.tracking.privacy import Addresses

__all__ = ["Lists", "error", "message", "message_id", "restored"]

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
Page = tuple[Sequence[Mapping[str, Any]], str | None]


@cache
def message_id(number: int) -> str:
    """Return the id of the message of that number."""
    digits = []
    for _ in range(25):
        number, digit = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "comms_message_0" + "".join(reversed(digits))


def error(code: object, number: int | None = None, **members: object) -> dict[str, Any]:
    """Return an error, of the message of that number."""
    context = None if number is None else message_id(number)
    text = f"It failed with {code}."
    url = f"https://www.twilio.com/docs/api/errors/{code}"
    return {"code": code, "message": text, "infoUrl": url, "context": context, **members}


def message(
    number: int, status: str, channel: str = "SMS", *, code: object = None
) -> dict[str, Any]:
    """Return a message; with a code as a fetch shows it, else as a list does."""
    shown: dict[str, Any] = {
        "id": message_id(number),
        "status": status,
        "from": {"address": "+12065550100", "channel": channel},
        "to": [{"address": "+14155551002", "channel": "PHONE"}],
    }
    if code is not None:
        attempt = {"status": "FAILED", "error": error(61337)}
        shown["attempts"] = [attempt, {"status": status, "error": error(code)}]
    return shown


def restored(state: Breakdown) -> Breakdown:
    """Return the state as it is after a crash."""
    return Breakdown.from_json(state.to_json())


class Lists:
    """What the API would answer; counts the requests."""

    def __init__(
        self,
        errors: Iterable[Mapping[str, Any]] = (),
        messages: Iterable[Mapping[str, Any]] = (),
        *,
        page_size: int = 1000,
    ) -> None:
        self._errors = list(errors)
        self._messages = list(messages)
        self._page_size = page_size
        self.asked: list[Request] = []

    def run(
        self,
        state: Breakdown,
        *,
        addresses: Addresses = Addresses.HIDDEN,
        between: Callable[[Breakdown], Breakdown] = lambda state: state,
    ) -> Breakdown:
        """Answer everything that the breakdown asks, with something done between two steps."""
        while (wanted := request(state)) is not None:
            self.asked.append(wanted)
            state = between(self._answer(between(state), wanted, addresses))
        return state

    def _answer(self, state: Breakdown, wanted: Request, addresses: Addresses) -> Breakdown:
        match wanted:
            case ReadErrors(token=token):
                return after_errors(state, *self._page(self._errors, token))
            case ReadMessages(status=status, token=token):
                listed = [
                    {name: value for name, value in one.items() if name != "attempts"}
                    for one in self._messages
                    if one["status"] == status
                ]
                return after_messages(state, *self._page(listed, token), addresses)
            case ReadMessage(message_id=wanted_id):
                found = next(one for one in self._messages if one["id"] == wanted_id)
                return after_message(state, found, addresses)

    def _page(self, items: Sequence[Mapping[str, Any]], token: str | None) -> Page:
        start = 0 if token is None else int(token)
        end = start + self._page_size
        return items[start:end], str(end) if end < len(items) else None
