"""The two sample documents of the vendor's reference, as it publishes them."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from poller.comms.ids import check_message_id, check_operation_id
from poller.comms.kinds import DEFAULT_KIND
from poller.comms.models import decode_message, decode_message_page, decode_operation

DOCUMENTS = Path(__file__).with_name("documents")


def sample(name: str) -> Any:  # noqa: ANN401 - JSON
    """Return one of the documents, decoded."""
    return json.loads((DOCUMENTS / f"{name}.json").read_text())


def test_the_operation_loses_no_field() -> None:
    """Every counter is counted, and what is kept is the document, member by member."""
    document = sample("operation")
    operation = decode_operation(document, kind=DEFAULT_KIND)
    assert json.loads(json.dumps(operation.raw)) == sample("operation")
    assert list(operation.raw) == list(document)
    assert check_operation_id(operation.id) == "comms_operation_01h9krwprkeee8fzqspvwy6nq8"
    assert operation.status == "COMPLETED"
    assert operation.counters == document["stats"]
    assert set(operation.counters) == DEFAULT_KIND.counters
    assert operation.created_at == operation.updated_at == datetime(2024, 4, 5, 6, 20, tzinfo=UTC)


def test_the_message_loses_no_field() -> None:
    """The RCS attempt that failed and the SMS that was delivered are both kept and counted."""
    document = sample("message")
    message = decode_message(document)
    assert json.loads(json.dumps(message.raw)) == sample("message")
    assert list(message.raw) == list(document)
    assert check_message_id(message.id) == "comms_message_2x4y6z8a0b1c2d3e4f5g6h7j8k"
    assert message.status == "DELIVERED"
    assert message.counters == {"attempts": 2, "failed": 1, "delivered": 1}
    assert message.created_at == datetime(2023, 8, 24, 14, 15, 22, tzinfo=UTC)
    assert message.scheduled_for is None
    rcs, sms = message.raw["attempts"]
    assert (rcs["from"]["channel"], rcs["status"], rcs["error"]["code"]) == ("RCS", "FAILED", 61337)
    assert (sms["from"]["channel"], sms["status"], sms["error"]) == ("SMS", "DELIVERED", None)


def test_the_message_in_a_page_loses_no_field() -> None:
    """As a list shows it: without content and attempts."""
    item = {
        name: value
        for name, value in sample("message").items()
        if name not in {"content", "attempts"}
    }
    (message,) = decode_message_page({"messages": [item]}, kind=DEFAULT_KIND).messages
    assert message.raw == item
    assert (message.status, message.counters) == ("DELIVERED", {})
