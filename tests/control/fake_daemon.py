"""A scripted control API: a thread on a port that answers what a test says, stream included."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from poller.comms.ids import is_message_id
from poller.comms.kinds import DEFAULT_KIND, KINDS
from poller.control.address import Address
from poller.server.documents import ProgressDocument
from poller.server.views import show_progress
from poller.tracking.progress import NO_PROGRESS, read_progress, read_receipts
from tests.fakes.api import operation, operation_id
from tests.fakes.served import Served

__all__ = [
    "A",
    "Asked",
    "B",
    "FakeDaemon",
    "M",
    "Reply",
    "document",
    "event",
    "frame",
    "message_document",
    "message_event",
    "problem",
]

A, B = operation_id(1), operation_id(2)
M = A.replace("_operation_", "_message_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer: `body` is JSON, or bytes as they are; after them the connection is closed."""

    status: int = 200
    body: Any = field(default_factory=dict)
    type: str = "application/json"


Script = Callable[[Asked], Reply]


class FakeDaemon(Served):
    """The server; a context manager. `answer` is asked for every reply."""

    def __init__(self, answer: Script) -> None:
        self.asked: list[Asked] = []
        self._answer = answer
        super().__init__(self._handler())

    @property
    def address(self) -> Address:
        """Where it is."""
        return Address(host="127.0.0.1", port=self.port)

    def paths(self) -> list[str]:
        """List the paths that were asked for."""
        return [asked.path for asked in self.asked]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers.get("content-length", "0"))
                content = self.rfile.read(length)
                parts = urlsplit(self.path)
                asked = Asked(
                    method=self.command,
                    path=parts.path,
                    query=parse_qs(parts.query),
                    headers={name.lower(): value for name, value in self.headers.items()},
                    body=json.loads(content) if content else None,
                )
                fake.asked.append(asked)
                reply = fake._answer(asked)
                body = reply.body
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(reply.status)
                self.send_header("content-type", reply.type)
                self.send_header("connection", "close")
                self.end_headers()
                self.wfile.write(content)
                self.close_connection = True

            do_POST = do_DELETE = do_GET  # noqa: N815 - the standard library's names

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def problem(status: int, name: str, detail: str = "what happened", hint: str = "do this") -> Reply:
    """Make an answer with problem details."""
    return Reply(
        status=status,
        body={
            "type": f"urn:comms-poller:problem:{name}",
            "title": "What it is",
            "status": status,
            "detail": detail,
            "hint": hint,
        },
        type="application/problem+json",
    )


def document(
    name: str,
    status: str | None = "PROCESSING",
    *,
    sequence: int = 0,
    stats: Mapping[str, Any] | None = None,
    **members: object,
) -> dict[str, Any]:
    """Make an operation as the control API shows it; `stats` are its counters."""
    snapshot = None if status is None else operation(name, status, **(stats or {}))
    made = {
        "id": name,
        "kind": "messages",
        "labels": {},
        "group": None,
        "traceparent": None,
        "tracestate": None,
        "account": "default",
        "source": f"https://comms.twilio.com/v1/Messages/Operations/{name}",
        "phase": "active",
        "outcome": None,
        "status": status,
        "snapshot": snapshot,
        "counters": {} if snapshot is None else snapshot["stats"],
        "sequence": sequence,
        "registeredAt": "2026-11-22T10:00:00.000Z",
        "observedAt": None if status is None else "2026-11-22T10:00:01.000Z",
        "endedAt": None,
        "nextLookAt": "2026-11-22T10:00:09.000Z",
        "events": [],
        "earlierEvents": 0,
        "pruned": False,
        **members,
    }
    return {"progress": progress_document(made), **made}


def progress_document(made: Mapping[str, Any]) -> ProgressDocument:
    """Show the progress that the counters of a document mean; a single message has none."""
    if not is_message_id(made["id"]):
        kind = KINDS.get(made["kind"], DEFAULT_KIND)
        return show_progress(read_progress(kind, made["counters"]), None)
    is_group = made["status"] == "GROUP"
    return show_progress(read_receipts(made["counters"]) if is_group else NO_PROGRESS, None)


def event(
    name: str,
    number: int,
    event_type: str = "operation.progress",
    *,
    status: str = "PROCESSING",
    final: bool = False,
    **stats: Any,  # noqa: ANN401 - counters, by name
) -> dict[str, Any]:
    """Make a CloudEvent; its id is its operation's last characters and its number."""
    return {
        "specversion": "1.0",
        "id": f"{name[-3:]}-{number}",
        "source": f"https://comms.twilio.com/v1/Messages/Operations/{name}",
        "type": event_type,
        "subject": name,
        "time": "2026-11-22T10:00:02.000Z",
        "datacontenttype": "application/json",
        "sequence": f"{number:010d}",
        "partitionkey": name,
        "data": {
            "operation": operation(name, status, **stats),
            "kind": "messages",
            "previousStatus": None,
            "delta": {},
            "observedAt": "2026-11-22T10:00:02.000Z",
            "final": final,
            "labels": {},
            "reason": None,
        },
    }


def message_document(
    status: str,
    *attempts: Mapping[str, Any],
    counters: Mapping[str, int],
    **members: Any,  # noqa: ANN401 - members of any type
) -> dict[str, Any]:
    """Make the message `M` as the control API shows it: its snapshot has no `stats`."""
    snapshot = {"id": M, "status": status, "attempts": list(attempts)}
    made = document(M, status, counters=dict(counters), **members)
    return made | {"snapshot": snapshot}


def message_event(
    number: int,
    event_type: str,
    status: str,
    *attempts: Mapping[str, Any],
    **members: Any,  # noqa: ANN401 - `final`, and counters
) -> dict[str, Any]:
    """Make a CloudEvent of the message `M`."""
    made = event(M, number, event_type, final=members.pop("final", False))
    del made["data"]["operation"]
    made["data"]["message"] = {
        "id": M,
        "status": status,
        "attempts": list(attempts),
        "stats": members,
    }
    made["data"]["changes"] = []
    return made


def frame(*events: Mapping[str, Any]) -> bytes:
    """Write events as the stream does."""
    return b"".join(_frame(one) for one in events)


def _frame(document: Mapping[str, Any]) -> bytes:
    body = json.dumps(document, ensure_ascii=False)
    return f"id: {document['id']}\nevent: {document['type']}\ndata: {body}\n\n".encode()
