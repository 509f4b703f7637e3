"""An example of every document, for the description of the API. A test validates each."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from poller.server.documents import (
    BulkResultDocument,
    DeadLettersDocument,
    DeliveryDocument,
    GroupDocument,
    GroupsDocument,
    GroupStoryDocument,
    HealthDocument,
    OperationDocument,
    OperationsDocument,
    OperationStoryDocument,
    ReadinessDocument,
    ReplayedDeadLettersDocument,
    ReplayedDocument,
    SinksDocument,
    SummaryDocument,
    TotalsDocument,
)

_ID: Final = "comms_operation_01h9krwprkeee8fzqspvwy6nq8"
_MESSAGE_ID: Final = "comms_message_01h9krwprkeee8fzqspvwy6nq8"
_EVENT: Final = "0193a5c2-1f7b-7c3e-9d40-5f0e6a1b2c3d"
_BEFORE: Final = "0193a5c2-0a11-7d52-8e11-2b3c4d5e6f70"
_SOURCE: Final = f"https://comms.twilio.com/v1/Messages/Operations/{_ID}"

_TRACEPARENT: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_REGISTRATION: Final = {
    "id": _ID,
    "kind": "messages",
    "labels": {"campaign": "autumn"},
    "group": "autumn-2026",
    "traceparent": _TRACEPARENT,
}
_MESSAGE_REGISTRATION: Final = {"id": _MESSAGE_ID, "labels": {"campaign": "autumn"}}
_NOT_ITS_KIND: Final = {"id": _MESSAGE_ID, "kind": "emails"}
_BULK: Final = {"operations": [_REGISTRATION, _NOT_ITS_KIND]}
_REPLAY: Final = {"sinks": ["app"]}

_SNAPSHOT: Final[dict[str, Any]] = {
    "id": _ID,
    "status": "PROCESSING",
    "stats": {"total": 1000, "recipients": 1000, "queued": 640, "delivered": 360},
    "createdAt": "2026-11-22T09:58:00Z",
    "updatedAt": "2026-11-22T10:00:00Z",
}
_OPERATION: Final[OperationDocument] = {
    "id": _ID,
    "kind": "messages",
    "labels": {"campaign": "autumn"},
    "group": "autumn-2026",
    "traceparent": _TRACEPARENT,
    "tracestate": None,
    "account": "default",
    "source": _SOURCE,
    "phase": "active",
    "outcome": None,
    "status": "PROCESSING",
    "snapshot": _SNAPSHOT,
    "counters": {"total": 1000, "recipients": 1000, "queued": 640, "delivered": 360},
    "progress": {
        "total": 1000,
        "done": 360,
        "failed": 0,
        "stages": {"queued": 640, "delivered": 360},
        "perSecond": 3.051,
        "secondsLeft": 209.8,
    },
    "sequence": 2,
    "registeredAt": "2026-11-22T09:58:01.000Z",
    "observedAt": "2026-11-22T10:00:00.500Z",
    "endedAt": None,
    "nextLookAt": "2026-11-22T10:00:09.000Z",
}
_FALLBACK_ERROR: Final = {
    "code": 61337,
    "message": "Recipient does not have RCS enabled.",
    "infoUrl": "https://www.twilio.com/docs/api/errors/61337",
}
_MESSAGE: Final[OperationDocument] = {
    "id": _MESSAGE_ID,
    "kind": "messages",
    "labels": {"campaign": "autumn"},
    "group": None,
    "traceparent": None,
    "tracestate": None,
    "account": "default",
    "source": f"https://comms.twilio.com/v1/Messages/{_MESSAGE_ID}",
    "phase": "ended",
    "outcome": "completed",
    "status": "DELIVERED",
    "snapshot": {
        "id": _MESSAGE_ID,
        "status": "DELIVERED",
        "from": {"channel": "SMS"},
        "to": [{"channel": "PHONE"}],
        "attempts": [
            {"from": {"channel": "RCS"}, "status": "FAILED", "error": _FALLBACK_ERROR},
            {"from": {"channel": "SMS"}, "status": "DELIVERED", "error": None},
        ],
        "createdAt": "2026-11-22T09:58:00Z",
        "updatedAt": "2026-11-22T09:58:40Z",
    },
    "counters": {"attempts": 2, "failed": 1, "delivered": 1},
    "progress": {
        "total": None,
        "done": 0,
        "failed": 0,
        "stages": {},
        "perSecond": None,
        "secondsLeft": None,
    },
    "sequence": 1,
    "registeredAt": "2026-11-22T09:58:50.000Z",
    "observedAt": "2026-11-22T09:58:50.500Z",
    "endedAt": "2026-11-22T09:58:50.600Z",
    "nextLookAt": None,
}
_OPERATIONS: Final[OperationsDocument] = {"operations": [_OPERATION, _MESSAGE], "next": None}
_SUMMARY: Final[SummaryDocument] = {
    "running": 38,
    "ended": 412,
    "completed": 409,
    "failed": 0,
    "canceled": 2,
    "lost": 1,
}
_WAITING: Final[DeliveryDocument] = {
    "sink": "app",
    "state": "waiting",
    "blockedBy": None,
    "sinkState": "failing",
    "sinkError": "answered 503 Service Unavailable",
    "attempts": 2,
    "lastStatus": 503,
    "lastError": "answered 503 Service Unavailable",
    "nextAttemptAt": "2026-11-22T10:00:04.000Z",
    "doneAt": None,
}
_BLOCKED: Final[DeliveryDocument] = {
    "sink": "app",
    "state": "blocked",
    "blockedBy": _BEFORE,
    "sinkState": "failing",
    "sinkError": "answered 503 Service Unavailable",
    "attempts": 0,
    "lastStatus": None,
    "lastError": None,
    "nextAttemptAt": None,
    "doneAt": None,
}
_STORY: Final[OperationStoryDocument] = {
    **_OPERATION,
    "events": [
        {
            "id": _BEFORE,
            "type": "operation.processing",
            "sequence": 1,
            "time": "2026-11-22T09:58:03.000Z",
            "final": False,
            "status": "PROCESSING",
            "delta": {"total": 1000, "recipients": 1000, "queued": 1000},
            "operations": None,
            "reason": None,
            "deliveries": [_WAITING],
        },
        {
            "id": _EVENT,
            "type": "operation.progress",
            "sequence": 2,
            "time": "2026-11-22T10:00:00.600Z",
            "final": False,
            "status": "PROCESSING",
            "delta": {"queued": -360, "delivered": 360},
            "operations": None,
            "reason": None,
            "deliveries": [_BLOCKED],
        },
    ],
    "earlierEvents": 0,
    "pruned": False,
    "breakdown": None,
}
_MESSAGE_STORY: Final[OperationStoryDocument] = {
    **_MESSAGE,
    "events": [
        {
            "id": _EVENT,
            "type": "message.delivered",
            "sequence": 1,
            "time": "2026-11-22T09:58:50.600Z",
            "final": True,
            "status": "DELIVERED",
            "delta": {"attempts": 2, "failed": 1, "delivered": 1},
            "operations": None,
            "reason": None,
            "deliveries": [],
        }
    ],
    "earlierEvents": 0,
    "pruned": False,
    "breakdown": None,
}
_GROUP: Final[GroupDocument] = {
    "name": "autumn-2026",
    "state": "sealed",
    "labels": {"campaign": "autumn"},
    "account": "default",
    "source": "urn:comms-poller:default:groups:autumn-2026",
    "operations": {"total": 12, "completed": 11, "canceled": 0, "lost": 0, "watching": 1},
    "expected": 12,
    "counters": {"total": 12000, "recipients": 12000, "queued": 640, "delivered": 11360},
    "progress": {
        "total": 12000,
        "done": 11360,
        "failed": 0,
        "stages": {"queued": 640, "delivered": 11360},
        "perSecond": 3.051,
        "secondsLeft": 209.8,
    },
    "sequence": 42,
    "createdAt": "2026-11-22T09:41:00.000Z",
    "sealedAt": "2026-11-22T09:58:02.000Z",
    "endedAt": None,
}
_GROUPS: Final[GroupsDocument] = {"groups": [_GROUP], "next": None}
_GROUP_STORY: Final[GroupStoryDocument] = {
    **_GROUP,
    "events": [
        {
            "id": _EVENT,
            "type": "group.progress",
            "sequence": 42,
            "time": "2026-11-22T10:00:00.600Z",
            "final": False,
            "status": None,
            "delta": {"queued": -360, "delivered": 360},
            "operations": _GROUP["operations"],
            "reason": None,
            "deliveries": [],
        }
    ],
    "earlierEvents": 41,
    "pruned": False,
    "breakdown": None,
}
_WRONG_KIND: Final = f"{_MESSAGE_ID} is a message of kind messages, not emails; leave kind out"
_BULK_RESULT: Final[BulkResultDocument] = {
    "results": [
        {"id": _ID, "status": 201, "phase": "active", "outcome": None},
        {
            "id": _MESSAGE_ID,
            "status": 422,
            "problem": {
                "type": "urn:comms-poller:problem:invalid",
                "title": "Something in the request is wrong",
                "status": 422,
                "detail": f"kind: {_WRONG_KIND}",
                "errors": [{"field": "kind", "message": _WRONG_KIND}],
            },
        },
    ]
}
_SINKS: Final[SinksDocument] = {
    "sinks": [
        {
            "name": "app",
            "state": "failing",
            "configured": True,
            "since": "2026-11-22T09:58:03.200Z",
            "failures": 2,
            "lastStatus": 503,
            "lastError": "answered 503 Service Unavailable",
            "nextAttempt": "2026-11-22T09:58:07.300Z",
            "refused": 1,
            "answered": 1,
            "waiting": 2,
            "dead": 0,
            "oldest": "2026-11-22T09:58:03.000Z",
        }
    ]
}
_DEAD_LETTERS: Final[DeadLettersDocument] = {
    "deadLetters": [
        {
            "eventId": _EVENT,
            "operationId": _ID,
            "type": "operation.progress",
            "sequence": 2,
            "sink": "app",
            "recordedAt": "2026-11-22T10:00:00.600Z",
            "diedAt": "2026-11-25T10:00:01.000Z",
            "attempts": 83,
            "lastStatus": 503,
            "lastError": "answered 503 Service Unavailable",
        }
    ],
    "next": None,
}
_REPLAY_DEAD_LETTERS: Final = {"sink": "app", "since": "2026-11-22T00:00:00Z"}
_REPLAYED_DEAD_LETTERS: Final[ReplayedDeadLettersDocument] = {"replayed": {"app": 12}, "next": None}
_REPLAYED: Final[ReplayedDocument] = {"event": _EVENT, "sinks": ["app"]}
_HEALTH: Final[HealthDocument] = {
    "status": "ok",
    "version": "1.0.0",
    "loops": [{"name": "poll", "turning": True, "secondsSinceTurn": 0.4}],
}
_TOTALS: Final[TotalsDocument] = {
    "totals": [
        {
            "value": "autumn",
            "operations": 12,
            "watching": 3,
            "withFailures": 2,
            "recipients": 118_400,
            "done": 97_012,
            "failed": 640,
        }
    ],
    "omitted": 0,
}
_READY: Final[ReadinessDocument] = {
    "status": "ready",
    "version": "1.0.0",
    "reason": None,
    "degraded": [],
}
_DEGRADED: Final[ReadinessDocument] = {
    "status": "degraded",
    "version": "1.0.0",
    "reason": None,
    "degraded": [
        {
            "what": "credentials",
            "since": "2026-11-22T09:00:00.000Z",
            "hint": "the API refuses the credentials (401); correct them, then send SIGHUP",
        }
    ],
}
EVENT_STREAM: Final = (
    f'id: {_EVENT}\nevent: operation.progress\ndata: {{"specversion": "1.0", "id": "{_EVENT}"}}\n\n'
)

_HANGING: Final[HealthDocument] = {
    "status": "hanging",
    "version": "1.0.0",
    "loops": [{"name": "poll", "turning": False, "secondsSinceTurn": 95.2}],
}
_UNREADY: Final[ReadinessDocument] = {
    "status": "unready",
    "version": "1.0.0",
    "reason": "store.url: /var/lib/comms-poller/poller.db: the disk is full; free some space",
    "degraded": [],
}

EXAMPLES: Final[Mapping[str, Any]] = {
    "registration": _REGISTRATION,
    "messageRegistration": _MESSAGE_REGISTRATION,
    "bulk": _BULK,
    "bulkResult": _BULK_RESULT,
    "operation": _OPERATION,
    "message": _MESSAGE,
    "operations": _OPERATIONS,
    "summary": _SUMMARY,
    "totals": _TOTALS,
    "group": _GROUP,
    "groups": _GROUPS,
    "groupStory": _GROUP_STORY,
    "seal": {},
    "sealLater": {"expected": 12},
    "story": _STORY,
    "messageStory": _MESSAGE_STORY,
    "sinks": _SINKS,
    "deadLetters": _DEAD_LETTERS,
    "replay": _REPLAY,
    "replayToAll": {},
    "replayed": _REPLAYED,
    "replayDeadLetters": _REPLAY_DEAD_LETTERS,
    "replayedDeadLetters": _REPLAYED_DEAD_LETTERS,
    "healthy": _HEALTH,
    "hanging": _HANGING,
    "ready": _READY,
    "degraded": _DEGRADED,
    "unready": _UNREADY,
}

EXAMPLES_OF_ROUTES: Final[Mapping[str, Mapping[int | str, Sequence[str]]]] = {
    "POST /v1/operations": {
        "body": ("registration", "messageRegistration", "bulk"),
        201: ("operation", "message"),
        200: ("operation", "bulkResult"),
    },
    "GET /v1/operations": {200: ("operations",)},
    "GET /v1/summary": {200: ("summary",)},
    "GET /v1/totals": {200: ("totals",)},
    "GET /v1/operations/{operation_id}": {200: ("story", "messageStory")},
    "GET /v1/groups": {200: ("groups",)},
    "GET /v1/groups/{name}": {200: ("groupStory",)},
    "POST /v1/groups/{name}/seal": {"body": ("seal", "sealLater"), 200: ("group",)},
    "POST /v1/events/{event_id}/replay": {"body": ("replay", "replayToAll"), 202: ("replayed",)},
    "GET /v1/sinks": {200: ("sinks",)},
    "GET /v1/dead-letters": {200: ("deadLetters",)},
    "POST /v1/dead-letters/replay": {
        "body": ("replayDeadLetters",),
        202: ("replayedDeadLetters",),
    },
    "GET /healthz": {200: ("healthy",), 503: ("hanging",)},
    "GET /readyz": {200: ("ready", "degraded"), 503: ("unready",)},
}
"""The examples of bodies and answers, by the method and path of the route."""
