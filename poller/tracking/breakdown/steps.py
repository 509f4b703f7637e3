"""The failure breakdown of an ended operation: its requests, and the report that they make.

A pure state machine whose state is stored after every step. One request is one step, so an
interrupted breakdown continues at the page where it was:

    while (wanted := request(state)) is not None:
        state = after_errors(state, …)      # or the function for the kind of request

Errors are read first, then the messages of each status, then a few single messages for codes that
were counted without a known message. Counts by code come from the errors alone.

A list can shift while it is read. Repeated items are recognized among the last 2,000, two of the
largest pages: errors by their code and their message, messages by their id. An error that names no
message cannot be recognized, and is counted each time.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from poller.comms.ids import is_message_id
from poller.tracking.breakdown.causes import ITEM_ID, Cause, CauseTally, Sample
from poller.tracking.breakdown.state import ERRORS, MESSAGES, Breakdown, Count, Recent
from poller.tracking.privacy import Addresses, channel_of, public_name

_MESSAGE: Final = "message"
_MOST_PAGES: Final = 50
_MOST_FETCHED: Final = 5
_MOST_COUNTS: Final = 50
_MOST_RECENT: Final = 2000
_LONGEST_TOKEN: Final = 4096
# a place among the recipients of a send: the vendor's form of a context without a message
_PLACE: Final = re.compile(r"[A-Za-z]{1,40}\[[0-9]{1,6}\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadErrors:
    """Read a page of the operation's errors, the first where there is no token."""

    token: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadMessages:
    """Read a page of the operation's messages of that status."""

    status: str
    token: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadMessage:
    """Fetch one message."""

    message_id: str


Request = ReadErrors | ReadMessages | ReadMessage
"""The next request."""

_Wanted = TypeVar("_Wanted", ReadErrors, ReadMessages, ReadMessage)


def begin(*, statuses: Sequence[str]) -> Breakdown:
    """Return the state before the first request; `statuses` are those of failed messages."""
    return Breakdown(sources=(ERRORS, *(MESSAGES + one for one in dict.fromkeys(statuses))))


def request(state: Breakdown) -> Request | None:
    """Return the next request; None where the breakdown is complete."""
    if state.sources:
        source = state.sources[0]
        if source == ERRORS:
            return ReadErrors(token=state.token)
        return ReadMessages(status=source.removeprefix(MESSAGES), token=state.token)
    wants_samples = any(cause.is_without_sample for cause in state.causes)
    if state.suspects and state.fetched < _MOST_FETCHED and wants_samples:
        return ReadMessage(message_id=state.suspects[0])
    return None


def after_errors(
    state: Breakdown, errors: Sequence[Mapping[str, Any]], next_token: str | None
) -> Breakdown:
    """Apply a page of errors, as the API gave them.

    :raises ValueError: where the next request is not for a page of errors.
    """
    _check(state, ReadErrors)
    tally, recent = CauseTally(state.causes), Recent(state.recent, most=_MOST_RECENT)
    for error in errors:
        context = _context_of(error)
        if context is None or recent.is_new(ERRORS, error.get("code"), context):
            is_item = context is not None and ITEM_ID.fullmatch(context) is not None
            tally.count(error, context if is_item else None)
    return _next_page(replace(state, causes=tally.causes, recent=recent.marks), next_token)


def after_messages(
    state: Breakdown,
    messages: Sequence[Mapping[str, Any]],
    next_token: str | None,
    addresses: Addresses,
) -> Breakdown:
    """Apply a page of messages, as the API gave them.

    Messages of another status are skipped: a server may ignore a filter.

    :raises ValueError: where the next request is not for a page of messages.
    """
    status = _check(state, ReadMessages).status
    tally, recent = CauseTally(state.causes), Recent(state.recent, most=_MOST_RECENT)
    counts = {(one.status, one.channel): one.count for one in state.counts}
    suspects = list(state.suspects)
    for message in messages:
        item_id = message.get("id")
        if not isinstance(item_id, str) or not ITEM_ID.fullmatch(item_id):
            continue
        if public_name(message.get("status")) != status or not recent.is_new(item_id):
            continue
        place = _place_in(counts, status, channel_of(message))
        if not tally.add_addresses(item_id, message, addresses):
            _suspect(suspects, item_id, first=place not in counts)
        counts[place] = counts.get(place, 0) + 1
    counted = replace(
        state,
        causes=tally.causes,
        recent=recent.marks,
        counts=_counts_of(counts),
        suspects=tuple(suspects),
    )
    return _next_page(counted, next_token)


def after_message(state: Breakdown, raw: Mapping[str, Any], addresses: Addresses) -> Breakdown:
    """Apply one message: the error of its last attempt has its code.

    :raises ValueError: where the next request is not for a message.
    """
    message_id = _check(state, ReadMessage).message_id
    tally = CauseTally(state.causes)
    attempts = raw.get("attempts")
    last = attempts[-1] if isinstance(attempts, list) and attempts else None
    error = last.get("error") if isinstance(last, dict) else None
    if isinstance(error, dict):
        tally.add_sample(error, Sample.of(message_id, raw, addresses))
    return replace(_next_message(state), causes=tally.causes)


def after_refusal(state: Breakdown) -> Breakdown:
    """Skip a source that will never be readable. What was already read of it counts.

    :raises ValueError: where the breakdown is complete.
    """
    wanted = request(state)
    if wanted is None:
        raise ValueError("the breakdown is complete; there is no next request")
    if isinstance(wanted, ReadMessage):
        return _next_message(_without(state, _MESSAGE))
    return _next_source(_without(state, state.sources[0]))


def after_foreign_messages(state: Breakdown) -> Breakdown:
    """Skip the messages of this status: the list holds those of other operations.

    Their counts are dropped, and none of these messages is fetched.

    :raises ValueError: where the next request is not for a page of messages.
    """
    status = _check(state, ReadMessages).status
    own = tuple(one for one in state.counts if one.status != status)
    return after_refusal(replace(state, counts=own, suspects=()))


def add_report(total: Breakdown, part: Mapping[str, Any]) -> Breakdown:
    """Add `data.breakdown` of a member's event to that of its group, which has nothing to read."""
    tally = CauseTally(total.causes)
    for cause in part["errors"]:
        tally.add(Cause.of(cause))
    counts = {(one.status, one.channel): one.count for one in total.counts}
    for one in part["messages"]:
        place = _place_in(counts, one["status"], one["channel"])
        counts[place] = counts.get(place, 0) + one["count"]
    missing = tuple(dict.fromkeys((*total.missing, *part["missing"])))
    return replace(total, causes=tally.causes, counts=_counts_of(counts), missing=missing)


def report(state: Breakdown) -> dict[str, Any]:
    """Return `data.breakdown` of the event; it is complete where all sources were read fully."""
    counts = sorted(state.counts, key=lambda one: (one.status, -one.count, one.channel or ""))
    return {
        "errors": [cause.report() for cause in sorted(state.causes, key=Cause.rank)],
        "messages": [
            {"status": one.status, "channel": one.channel, "count": one.count} for one in counts
        ],
        "complete": not state.missing and request(state) is None,
        "missing": list(state.missing),
    }


def _place_in(
    counts: Mapping[tuple[str, str | None], int], status: str, channel: str | None
) -> tuple[str, str | None]:
    """Return where to count this: without the channel where there are too many."""
    place = (status, channel)
    return (status, None) if place not in counts and len(counts) >= _MOST_COUNTS else place


def _counts_of(counts: Mapping[tuple[str, str | None], int]) -> tuple[Count, ...]:
    return tuple(
        Count(status=status, channel=channel, count=count)
        for (status, channel), count in counts.items()
    )


def _check(state: Breakdown, kind: type[_Wanted]) -> _Wanted:
    wanted = request(state)
    if not isinstance(wanted, kind):
        raise ValueError(f"the next request is {wanted}, not {kind.__name__}")  # noqa: TRY004 - the type is right, the moment is not
    return wanted


def _context_of(error: Mapping[str, Any]) -> str | None:
    """Return the message or recipient that the error names; None where it names neither."""
    context = error.get("context")
    if not isinstance(context, str):
        return None
    context = context.strip()
    return context if ITEM_ID.fullmatch(context) or _PLACE.fullmatch(context) else None


def _suspect(suspects: list[str], item_id: str, *, first: bool) -> None:
    """Keep a few ids, first those of messages that are the first of their status and channel."""
    if is_message_id(item_id):
        suspects.insert(0 if first else len(suspects), item_id)
        del suspects[_MOST_FETCHED:]


def _next_page(state: Breakdown, next_token: str | None) -> Breakdown:
    if next_token is None:
        return _next_source(state)
    tokens = Recent(state.tokens, most=_MOST_PAGES)
    is_new = tokens.is_new(next_token) and len(next_token.encode()) <= _LONGEST_TOKEN
    pages = state.pages + 1
    if not is_new or pages >= _MOST_PAGES:
        return _next_source(_without(state, state.sources[0]))
    return replace(state, token=next_token, tokens=tokens.marks, pages=pages)


def _next_source(state: Breakdown) -> Breakdown:
    return replace(state, sources=state.sources[1:], token=None, tokens="", pages=0)


def _next_message(state: Breakdown) -> Breakdown:
    return replace(state, suspects=state.suspects[1:], fetched=state.fetched + 1)


def _without(state: Breakdown, source: str) -> Breakdown:
    return replace(state, missing=tuple(dict.fromkeys((*state.missing, source))))
