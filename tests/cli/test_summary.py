"""Messages and breakdowns in a line for people."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.cli.summary import breakdown_text, message_text
from poller.tracking.privacy import Addresses, public_message


def attempt(channel: str | None, status: str | None, code: object = None) -> dict[str, Any]:
    """Make an attempt as an event shows it."""
    return {
        "from": {} if channel is None else {"channel": channel},
        "status": status,
        "error": None if code is None else {"code": code, "message": "No route.", "infoUrl": None},
    }


RCS_FAILED = attempt("RCS", "FAILED", 61337)


@pytest.mark.parametrize(
    ("message", "counters", "text"),
    [
        ({"attempts": [RCS_FAILED, attempt("SMS", "DELIVERED")]}, {"failed": 1},
         "RCS failed 61337 → SMS delivered"),
        ({"attempts": [RCS_FAILED]}, {}, "RCS failed 61337 No route"),
        ({"attempts": [attempt("SMS", "SENT")]}, {"attempts": 1, "sent": 1}, "SMS sent"),
        ({"attempts": [attempt(None, "SENT")]}, {}, "sent"),
        ({"attempts": [attempt(None, None)]}, {}, "?"),
        ({"attempts": [RCS_FAILED] * 5 + [attempt("SMS", "SENT")]}, {},
         "2 more → RCS failed 61337 → RCS failed 61337 → RCS failed 61337 → SMS sent"),
        ({"attempts": [], "status": "QUEUED"}, {}, ""),
        ({"status": "SCHEDULED", "scheduledFor": "2026-11-22T10:30:00Z"}, {},
         "due 2026-11-22T10:30:00Z"),
        ({"status": "SENT", "scheduledFor": "2026-11-22T10:30:00Z"}, {}, ""),
        ({"status": "GROUP", "attempts": [attempt("SMS", "SENT")]},
         {"recipients": 3, "delivered": 2, "failed": 1, "sent": 0},
         "3 recipients: 2 delivered, 1 failed"),
        ({"status": "GROUP"}, {"recipients": 1, "sent": 1}, "1 recipient: 1 sent"),
        ({"status": "GROUP", "attempts": [attempt("SMS", "SENT")]}, {}, "SMS sent"),
        ({"id": "comms_message_1"}, {}, ""),
    ],
    ids="fallback failed sent channelless nothing many queued scheduled sent-late group alone "
    "no-receipts unseen".split(),
)  # fmt: skip
def test_a_message_tells_how_it_fared(
    message: dict[str, Any], counters: dict[str, int], text: str
) -> None:
    """Its attempts in their order, the codes of those that failed; a group its receipts."""
    assert message_text(message, counters) == text


def cause(code: object, count: int, message: str | None) -> dict[str, Any]:
    """Make an error of a breakdown."""
    return {"code": code, "count": count, "message": message, "infoUrl": None, "samples": []}


def breakdown(*errors: dict[str, Any], complete: bool = True) -> dict[str, Any]:
    """Make a breakdown."""
    messages = [{"status": "FAILED", "channel": "SMS", "count": 7}]
    missing = [] if complete else ["errors"]
    return {"errors": errors, "messages": messages, "complete": complete, "missing": missing}


def test_a_breakdown_names_the_most_frequent_codes() -> None:
    """With the vendor's words; what does not fit in is counted."""
    errors = (
        cause(30003, 1200, "Unreachable destination handset."),
        cause("blocked", 40, None),
        cause(None, 2, "Odd\x1b[2J"),
        cause(30005, 1, "Unknown"),
        cause(30006, 1, "Landline"),
    )
    assert breakdown_text(breakdown(*errors)) == (
        "1,244 failed: 30003 Unreachable destination handset ×1,200, blocked ×40, "
        "no code Odd?[2J ×2, 2 more codes"
    )
    assert breakdown_text(breakdown(*errors[:4])).endswith(", 1 more code")


def test_a_breakdown_may_know_little() -> None:
    """Without errors the messages are counted; what could not be read is not passed over."""
    assert breakdown_text(breakdown()) == "7 failed: the API tells no reasons"
    partly = breakdown(cause(30003, 1, None), complete=False)
    assert breakdown_text(partly) == "1 failed: 30003 ×1 (not all of it could be read)"


_JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from("attempts status from channel error code message scheduledFor".split()),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["attempts", "status", "scheduledFor"]), _JSON))
def test_whatever_is_stored_can_be_told(raw: dict[str, Any]) -> None:
    """Every message in its public form makes one printable line."""
    assert message_text(public_message(raw, Addresses.HIDDEN), {}).isprintable()
