"""Events on their way to a sink, as many as a test wants."""

import json

from poller.sinks.base import OutgoingEvent

__all__ = ["outgoing"]


def outgoing(
    event_id: str, *, operation_id: str = "comms_operation_1", pad: int = 0
) -> OutgoingEvent:
    """Return an outgoing CloudEvent; `pad` adds this many bytes to its data."""
    body = {
        "specversion": "1.0",
        "id": event_id,
        "source": f"https://comms.example/v1/Messages/Operations/{operation_id}",
        "type": "operation.progress",
        "subject": operation_id,
        "time": "2026-11-22T10:00:00.123Z",
        "datacontenttype": "application/json",
        "data": {"note": "grüße\n" + "x" * pad},
    }
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return OutgoingEvent(id=event_id, body=text)
