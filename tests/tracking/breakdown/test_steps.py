"""The failure breakdown of an ended operation."""

import json
from collections import Counter
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.tracking.breakdown.state import Breakdown
from poller.tracking.breakdown.steps import (
    ReadErrors,
    ReadMessage,
    ReadMessages,
    after_errors,
    after_message,
    after_messages,
    after_refusal,
    begin,
    report,
    request,
)
from poller.tracking.privacy import Addresses
from tests.tracking.breakdown.listed import Lists, error, message, message_id, restored
from tests.tracking.planted import JSON, MESSAGES, TEXTS

STATUSES = ("FAILED", "UNDELIVERED")
CODES = (30003, 30005, 21610, 30006, 30007)
HIDDEN = Addresses.HIDDEN


@cache
def _campaign(*, contexts: bool = True) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return 700 errors of 5 codes, and 10,000 messages, some on another channel."""
    messages = []
    errors = []
    for number in range(10_000):
        if number % 14 or number >= 9800:
            messages.append(message(number, "DELIVERED"))
            continue
        place = number // 14
        # by code: 250, 180, 130, 90, 50
        code = CODES[next(i for i, end in enumerate((250, 430, 560, 650, 700)) if place < end)]
        status = "UNDELIVERED" if code in {30003, 30005} else "FAILED"
        channel = "RCS" if code == 30007 else "SMS"
        messages.append(message(number, status, channel, code=code))
        errors.append(error(code, number if contexts else None))
    return errors, messages


@pytest.mark.parametrize("crashes", [False, True])
def test_it_is_exact_and_cheap(crashes: bool) -> None:  # noqa: FBT001 - the parameter of the test
    """700 failures of 5 codes among 10,000 messages, in pages of 1,000; a crash changes nothing."""
    lists = Lists(*_campaign())
    keep = restored if crashes else lambda state: state
    reported = report(lists.run(begin(statuses=STATUSES), between=keep))
    assert [(one["code"], one["count"]) for one in reported["errors"]] == [
        (30003, 250),
        (30005, 180),
        (21610, 130),
        (30006, 90),
        (30007, 50),
    ]
    assert reported["errors"][0] == {
        "code": 30003,
        "count": 250,
        "message": "It failed with 30003.",
        "infoUrl": "https://www.twilio.com/docs/api/errors/30003",
        "samples": [{"id": message_id(14 * place)} for place in range(5)],
    }
    assert reported["messages"] == [
        {"status": "FAILED", "channel": "SMS", "count": 220},
        {"status": "FAILED", "channel": "RCS", "count": 50},
        {"status": "UNDELIVERED", "channel": "SMS", "count": 430},
    ]
    assert reported["complete"] is True
    assert reported["missing"] == []
    assert len(lists.asked) == 3


@pytest.mark.parametrize("crashes", [False, True])
def test_errors_that_name_no_message(crashes: bool) -> None:  # noqa: FBT001 - as above
    """Single messages are fetched for samples, five at most; the counts stay the errors' own."""
    lists = Lists(*_campaign(contexts=False))
    keep = restored if crashes else lambda state: state
    state = lists.run(begin(statuses=STATUSES), addresses=Addresses.MASKED, between=keep)
    reported = report(state)
    assert sum(one["count"] for one in reported["errors"]) == 700
    fetched = [one for one in lists.asked if isinstance(one, ReadMessage)]
    assert len(fetched) == 5
    assert len(lists.asked) <= 12
    samples = [sample for one in reported["errors"] for sample in one["samples"]]
    assert len(samples) == 5
    assert all(sample["to"] == ["+1415•••1002"] for sample in samples)
    assert next(one for one in reported["errors"] if one["code"] == 30007)["samples"]


def test_fetching_ends_when_every_code_has_a_sample() -> None:
    """One message is enough for the one code."""
    messages = [message(number, "FAILED", code=30003) for number in range(9)]
    lists = Lists([error("30003")] * 9, messages)
    reported = report(lists.run(begin(statuses=STATUSES)))
    assert reported["errors"][0]["samples"] == [{"id": message_id(0)}]
    assert lists.asked[-1] == ReadMessage(message_id=message_id(0))
    assert len(lists.asked) == 4


def test_a_kind_that_lists_no_messages() -> None:
    """Only its errors are read."""
    lists = Lists([error(30008), error(30008), error(None)])
    reported = report(lists.run(begin(statuses=())))
    assert [(one["code"], one["count"]) for one in reported["errors"]] == [(30008, 2), (None, 1)]
    assert lists.asked == [ReadErrors(token=None)]
    assert reported["complete"] is True


def test_addresses_come_with_the_list() -> None:
    """A sample that an error named is met again among the messages, and shows its address there."""
    lists = Lists([error(30003, 1), error(30005, 1)], [message(1, "FAILED")])
    shown = {"id": message_id(1), "to": ["+14155551002"]}
    reported = report(lists.run(begin(statuses=STATUSES), addresses=Addresses.FULL))
    assert [one["samples"] for one in reported["errors"]] == [[shown], [shown]]
    hidden = report(lists.run(begin(statuses=STATUSES), addresses=Addresses.HIDDEN))
    assert [one["samples"] for one in hidden["errors"]] == [[{"id": message_id(1)}]] * 2


def test_what_is_refused_is_missing() -> None:
    """Each source is skipped by itself, and named."""
    state = after_refusal(begin(statuses=STATUSES))
    assert request(state) == ReadMessages(status="FAILED", token=None)
    state = after_refusal(after_refusal(state))
    assert request(state) is None
    reported = report(state)
    assert reported["missing"] == ["errors", "messages:FAILED", "messages:UNDELIVERED"]
    assert reported["complete"] is False
    state = after_errors(begin(statuses=("FAILED",)), [error(30003), error(30003)], None)
    state = after_messages(
        state, [message(1, "FAILED"), message(2, "FAILED"), message(3, "FAILED")], None, HIDDEN
    )
    state = after_refusal(after_refusal(state))
    assert request(state) == ReadMessage(message_id=message_id(3))
    state = after_message(state, message(3, "FAILED", code=30003), HIDDEN)
    reported = report(state)
    assert reported["missing"] == ["message"]
    assert reported["errors"][0]["samples"] == [{"id": message_id(3)}]
    with pytest.raises(ValueError, match="complete"):
        after_refusal(state)


def test_a_refused_page_leaves_what_was_read() -> None:
    """The next source begins at its first page."""
    state = after_errors(begin(statuses=("FAILED",)), [error(30003)], "second")
    assert request(state) == ReadErrors(token="second")
    state = after_refusal(state)
    assert request(state) == ReadMessages(status="FAILED", token=None)
    assert report(state)["errors"][0]["count"] == 1


@pytest.mark.parametrize("tokens", [["a", "a"], ["a", "b", "a"], ["a", "x" * 5000]])
def test_a_token_that_repeats_ends_the_source(tokens: list[str]) -> None:
    """So does one that is too long to be stored."""
    state = begin(statuses=())
    for number, token in enumerate(tokens):
        state = restored(after_errors(state, [error(30003, number)], token))
    assert request(state) is None
    assert report(state)["missing"] == ["errors"]
    assert report(state)["errors"][0]["count"] == len(tokens)


def test_fifty_pages_are_enough() -> None:
    """A list that never ends is given up."""
    lists = Lists([error(30003, number) for number in range(60)], page_size=1)
    reported = report(lists.run(begin(statuses=())))
    assert len(lists.asked) == 50
    assert reported["errors"][0]["count"] == 50
    assert reported["missing"] == ["errors"]
    lists = Lists([error(30003, number) for number in range(50)], page_size=1)
    assert report(lists.run(begin(statuses=())))["complete"] is True


def test_pages_that_shift_count_nothing_twice() -> None:
    """Neither errors nor messages, where the next page begins with what the last one had."""
    state = begin(statuses=("FAILED",))
    numbers = [*range(100), *range(60, 160), *range(155, 200)]
    pages = [numbers[:100], numbers[100:200], numbers[200:]]
    tokens = ["1", "2", None]
    for page, token in zip(pages, tokens, strict=True):
        state = restored(after_errors(state, [error(30003, one) for one in page], token))
    for page, token in zip(pages, tokens, strict=True):
        listed = [message(one, "FAILED") for one in page]
        state = restored(after_messages(state, listed, token, HIDDEN))
    assert report(state)["errors"][0]["count"] == 200
    assert report(state)["messages"] == [{"status": "FAILED", "channel": "SMS", "count": 200}]


def test_recipients_without_a_message_are_distinguished_by_their_place() -> None:
    """And errors that say nothing of whose they are all count."""
    places = [error(21612, context=f"to[{number}]") for number in (1, 2, 2)]
    unknown = [error(30003, context="recipient")] * 3
    reported = report(after_errors(begin(statuses=()), [*places, *unknown], None))
    assert [(one["code"], one["count"]) for one in reported["errors"]] == [(30003, 3), (21612, 2)]
    assert [one["samples"] for one in reported["errors"]] == [[], []]


def test_a_filter_that_is_ignored_changes_no_count() -> None:
    """Messages of another status in the answer are passed over."""
    listed = [message(1, "FAILED"), message(2, "DELIVERED"), message(3, "UNDELIVERED")]
    state = after_errors(begin(statuses=STATUSES), [], None)
    state = after_messages(state, listed, None, HIDDEN)
    state = after_messages(state, listed, None, HIDDEN)
    assert report(state)["messages"] == [
        {"status": "FAILED", "channel": "SMS", "count": 1},
        {"status": "UNDELIVERED", "channel": "SMS", "count": 1},
    ]


def test_a_step_that_was_not_asked_for_is_refused() -> None:
    """The message says what was."""
    state = begin(statuses=STATUSES)
    with pytest.raises(ValueError, match="next request is ReadErrors"):
        after_messages(state, [], None, HIDDEN)
    with pytest.raises(ValueError, match="next request is ReadErrors"):
        after_message(state, {}, HIDDEN)
    with pytest.raises(ValueError, match="next request is None"):
        after_errors(after_errors(begin(statuses=()), [], None), [], None)


def test_codes_beyond_the_bound_are_counted_together() -> None:
    """Under null, by a name that says so."""
    errors = [error(number) for number in range(1000, 1250)] * 2
    reported = report(after_errors(begin(statuses=()), errors, None))
    assert len(reported["errors"]) == 201
    rest = reported["errors"][0]
    assert (rest["code"], rest["count"], rest["message"]) == (None, 100, "other codes")
    assert sum(one["count"] for one in reported["errors"]) == 500


def test_what_the_vendor_says_is_scrubbed() -> None:
    """The sentence and the link."""
    url = "https://example.com/?to=14155551002"
    odd = error(30003, message="+14155551002 is off", infoUrl=url)
    (reported,) = report(after_errors(begin(statuses=()), [odd], None))["errors"]
    assert reported["message"] == "••• is off"
    assert reported["infoUrl"] is None


def test_the_state_stays_small() -> None:
    """Whatever the API sends: at most 100 kB at every step."""
    letters = "\U00010400" * 20

    def size(state: Breakdown) -> int:
        return len(state.to_json().encode())

    state = begin(statuses=STATUSES)
    largest = 0
    recipients = [{"address": f"{letters * 3}@{'ä' * 240}", "channel": "PHONE"}] * 9
    numbers = iter(range(10**6))
    for page in range(50):
        errors = [
            error(
                f"{'x' * 56}-{page}-{one}",
                next(numbers),
                message=f'{letters} "quoted" {one} ' * 30,
                infoUrl="https://example.com/" + "a" * 275,
            )
            for one in range(40)
        ]
        state = after_errors(state, errors, f"{page}" + "t" * 4000)
        largest = max(largest, size(state))
    sampled = [sample["id"] for one in report(state)["errors"] for sample in one["samples"]]
    assert len(sampled) > 100
    for status in STATUSES:
        for page in range(50):
            listed = [
                {
                    "id": sampled[one] if one < len(sampled) else message_id(next(numbers)),
                    "status": status,
                    "from": {"channel": f"{'c' * 56}-{page}-{one}"},
                    "to": recipients,
                }
                for one in range(200)
            ]
            token = f"{page}" + "t" * 4000
            state = after_messages(state, listed, token, Addresses.FULL)
            largest = max(largest, size(state))
    assert restored(state) == state
    assert largest <= 100_000


def test_fifty_codes_have_all_their_samples() -> None:
    """The bound does not show in real life."""
    errors = [error(30000 + n % 50, n) for n in range(1000)]
    reported = report(after_errors(begin(statuses=()), errors, None))
    assert {len(one["samples"]) for one in reported["errors"]} == {5}
    assert all(one["message"] and one["infoUrl"] for one in reported["errors"])


@given(
    failures=st.lists(
        st.tuples(
            st.sampled_from([30003, "30003", "odd", None, 30005]),
            st.sampled_from(STATUSES),
            st.sampled_from(["SMS", "RCS"]),
            st.booleans(),
        ),
        max_size=60,
    ),
    page_size=st.integers(2, 70),
    addresses=st.sampled_from(Addresses),
)
def test_counts_are_exact(
    failures: list[tuple[Any, str, str, bool]], page_size: int, addresses: Addresses
) -> None:
    """Whatever failed, however it is paged, with a crash between any two steps."""
    errors = [error(code, n if named else None) for n, (code, _, _, named) in enumerate(failures)]
    messages = [
        message(n, status, channel, code=code or "none")
        for n, (code, status, channel, _) in enumerate(failures)
    ]
    lists = Lists(errors, messages, page_size=page_size)
    state = lists.run(begin(statuses=STATUSES), addresses=addresses, between=restored)
    reported = report(state)
    by_code = Counter(30003 if code == "30003" else code for code, *_ in failures)
    by_place = Counter((status, channel) for _, status, channel, _ in failures)
    assert {one["code"]: one["count"] for one in reported["errors"]} == by_code
    assert {(o["status"], o["channel"]): o["count"] for o in reported["messages"]} == by_place
    counts = [one["count"] for one in reported["errors"]]
    assert counts == sorted(counts, reverse=True)
    assert all(len(one["samples"]) <= 5 for one in reported["errors"])
    assert reported["complete"] is True


@given(
    errors=st.lists(st.dictionaries(st.sampled_from(["code", "message", "context"]), JSON)),
    listed=st.lists(MESSAGES, max_size=5),
    fetched=MESSAGES,
)
def test_any_answer_is_survived_and_nothing_planted_is_kept(
    errors: list[dict[str, Any]], listed: list[dict[str, Any]], fetched: dict[str, Any]
) -> None:
    """Neither in the state nor in the report."""
    state = after_errors(begin(statuses=("FAILED",)), errors, None)
    known = [{**one, "id": message_id(n), "status": "FAILED"} for n, one in enumerate(listed)]
    state = after_messages(state, [*listed, *known], None, HIDDEN)
    while request(state) is not None:
        state = restored(after_message(state, fetched, HIDDEN))
    for one in (reported := report(state))["errors"]:
        one["message"] = None
    written = json.dumps(reported, ensure_ascii=False)
    for secret in ("jane", "55510", *TEXTS):
        assert secret not in written
    assert "jane" not in state.to_json()


def _states() -> list[str]:
    """Return a state of every phase, as JSON."""
    lists = Lists([error(30003), error(30005, 5)], [message(5, "FAILED"), message(6, "FAILED")])
    seen = [begin(statuses=STATUSES)]
    partial = after_errors(seen[0], [error(30003)], "next")

    def keep(state: Breakdown) -> Breakdown:
        seen.append(state)
        return state

    lists.run(seen[0], addresses=Addresses.FULL, between=keep)
    return [state.to_json() for state in (*seen, partial)]


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{}", "{", "1", '{"version":1}', "[" * 100_000, b"\xff"]
)
def test_what_is_no_state_is_refused(text: str | bytes) -> None:
    """With a remedy."""
    with pytest.raises(ValueError, match="begin it again"):
        Breakdown.from_json(text)


@given(text=st.sampled_from(_states()), data=st.data())
def test_a_broken_state_is_refused_or_goes_on(text: str, data: st.DataObject) -> None:
    """Whatever one of its members became: nothing else is ever raised."""
    members = json.loads(text)
    name = data.draw(st.sampled_from(sorted(members)))
    place, index = members, name
    while isinstance(place[index], list) and place[index] and data.draw(st.booleans()):
        place, index = place[index], data.draw(st.integers(0, len(place[index]) - 1))
    place[index] = data.draw(JSON)
    try:
        state = Breakdown.from_json(json.dumps(members))
    except ValueError as problem:
        assert "begin it again" in str(problem)  # noqa: PT017 - either is right
        return
    request(state)
    report(state)
    assert restored(state) == state
