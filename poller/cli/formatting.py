"""Text for people, made from events and from documents of the control API. Pure.

The clock is an argument. Control characters in texts of the vendor are replaced.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from poller.comms.ids import is_message_id
from poller.comms.kinds import DEFAULT_KIND, KINDS
from poller.server.documents import DeliveryDocument, OperationDocument, TimelineEventDocument
from poller.text import parse_instant, printable
from poller.tracking.privacy import channel_of

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86_400
_NOTHING: Final = "–"
_LONGEST_STATUS: Final = 24


def counters(operation: OperationDocument) -> dict[str, int]:
    """Return the counters, without zeros: recipients of an operation, attempts of a message."""
    return {name: value for name, value in operation["counters"].items() if value}


def done(operation: OperationDocument) -> int:
    """Count the recipients with a final result; a message has one recipient, a group more."""
    if _is_single(operation):
        return int(operation["outcome"] not in {None, "lost"})
    return operation["progress"]["done"]


def total(operation: OperationDocument) -> int | None:
    """Count all recipients; None if the number is not known."""
    if _is_single(operation):
        return 1
    return operation["progress"]["total"]


def progress(operation: OperationDocument) -> str:
    """Return the progress as text: `60 of 100 done: 40 sent, 60 delivered`; "" without counters.

    Each recipient counts once, even if the vendor's counters are cumulative.
    For a message return its attempts: `RCS failed 61337 → SMS delivered`.
    """
    if is_message_id(operation["id"]):
        return message_text(operation["snapshot"] or {}, operation["counters"])
    known = KINDS.get(operation["kind"], DEFAULT_KIND).counters
    others = {name: one for name, one in counters(operation).items() if name not in known}
    shown = {**operation["progress"]["stages"], **others}
    found = [f"{value:,} {name}" for name, value in shown.items()]
    of = total(operation)
    if not found:
        return ""
    return f"{done(operation):,} of {'?' if of is None else f'{of:,}'} done: {', '.join(found)}"


def failed(operation: OperationDocument) -> int:
    """Count the recipients that were not reached."""
    if _is_single(operation):
        return int(operation["outcome"] == "failed")
    return operation["progress"]["failed"]


def state_text(operation: OperationDocument) -> str:
    """Return its state in one or two words: the status while it is active, later the outcome."""
    phase, outcome = operation["phase"], operation["outcome"]
    # the status of a single message says more than its outcome
    prefers_status = _is_single(operation) and phase != "forgotten" and outcome != "lost"
    if phase == "active" or prefers_status:
        text = operation["status"]
    else:
        text = outcome if phase == "ended" else phase
    return printable(text or "waiting", limit=_LONGEST_STATUS).lower()


def shortened(name: str, size: int) -> str:
    """Keep only the end of a name that is too long; an id is random there: `…kx3fa9`."""
    return name if len(name) <= size else f"…{name[1 - size :]}"


def labels_text(labels: Mapping[str, str]) -> str:
    """Write labels as on the command line: `campaign=autumn team=a`."""
    return " ".join(f"{name}={value}" for name, value in labels.items())


def when(instant: str | None, now: datetime) -> str:
    """Write an instant as a span from `now`: `in 9s`, `3m 20s ago`; a dash for none."""
    found = parse_instant(instant)
    if found is None:
        return _NOTHING
    seconds = (found - now).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"in {format_span(seconds)}" if seconds > 0 else f"{format_span(-seconds)} ago"


def format_span(seconds: float) -> str:
    """Write a span for people in two units at most: `42s`, `2m 03s`, `1h 02m`, `3d 04h`."""
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m {whole % _MINUTE:02}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h {whole % _HOUR // _MINUTE:02}m"
    return f"{whole // _DAY}d {whole % _DAY // _HOUR:02}h"


def why(delivery: DeliveryDocument, numbers: Mapping[str, int], now: datetime) -> str:
    """Return why a delivery is in its state; `numbers` are sequence numbers by event id."""
    error = printable(delivery["lastError"] or delivery["sinkError"] or "no reason is known")
    match delivery["state"]:
        case "delivered":
            return ""
        case "dead":
            return f"given up after {_attempts(delivery)}: {error}"
        case "blocked":
            before = delivery["blockedBy"] or ""
            return f"behind #{numbers[before]}" if before in numbers else f"behind {before}"
        case _:
            return _why_waiting(delivery, error, now)


def _why_waiting(delivery: DeliveryDocument, error: str, now: datetime) -> str:
    upcoming = when(delivery["nextAttemptAt"], now)
    match delivery["sinkState"]:
        case None:
            return "this sink is not configured; configure it again within three days"
        case "disabled":
            return f"the sink is disabled: {error}"
        case "down":
            return f"the sink is down: {error}; next attempt {upcoming}"
    if not delivery["attempts"]:
        return (
            "is sent next"
            if upcoming in {_NOTHING, "now"} or " ago" in upcoming
            else (f"is sent next, {upcoming}")
        )
    return f"{error}; attempt {delivery['attempts'] + 1} {upcoming}"


def sentence(
    sink: str, deliveries: Sequence[tuple[TimelineEventDocument, DeliveryDocument]], now: datetime
) -> tuple[str, str | None]:
    """Sum up one sink in a sentence; the second value is the id of an event to replay, or None."""
    states = Counter[str](delivery["state"] for _, delivery in deliveries)
    numbers = {event["id"]: event["sequence"] for event, _ in deliveries}
    parts = [f"{states[state]} {state}" for state in _in_order(states)]
    text = f"{sink}: {', '.join(parts)}"
    stuck = _first(deliveries, "waiting")
    if stuck is not None:
        text += f"; #{stuck[0]['sequence']} {why(stuck[1], numbers, now)}"
    dead = _first(deliveries, "dead")
    if dead is None:
        return text, None
    return f"{text}; #{dead[0]['sequence']} {why(dead[1], numbers, now)}", dead[0]["id"]


def _is_single(operation: OperationDocument) -> bool:
    """Whether it is one message to one recipient, whose counters count attempts."""
    return is_message_id(operation["id"]) and operation["status"] != "GROUP"


def _in_order(states: Iterable[str]) -> list[str]:
    known = ("delivered", "waiting", "blocked", "dead")
    return [state for state in known if state in set(states)]


def _first(
    deliveries: Sequence[tuple[TimelineEventDocument, DeliveryDocument]], state: str
) -> tuple[TimelineEventDocument, DeliveryDocument] | None:
    return next((pair for pair in deliveries if pair[1]["state"] == state), None)


def _attempts(delivery: Mapping[str, Any]) -> str:
    number = delivery["attempts"]
    return f"{number} {'attempt' if number == 1 else 'attempts'}"


_RECIPIENTS: Final = "recipients"
_MOST_ATTEMPTS: Final = 4
_MOST_CODES: Final = 3
_LONGEST_NAME: Final = 24
_LONGEST_REASON: Final = 60


def message_text(message: Mapping[str, Any], counters: Mapping[str, int]) -> str:
    """Describe a message: its attempts, the receipts of a group message, or its send time."""
    if message.get("status") == "GROUP" and counters.get(_RECIPIENTS):
        return receipts_text(counters)
    if attempts := attempts_text(message):
        return attempts
    at = message.get("scheduledFor")
    is_scheduled = message.get("status") == "SCHEDULED" and isinstance(at, str)
    return f"due {printable(at, limit=_LONGEST_NAME)}" if is_scheduled and at else ""


def attempts_text(message: Mapping[str, Any]) -> str:
    """Write the attempts in order: `RCS failed 61337 → SMS delivered`.

    If the last one failed, the vendor's error text follows.
    """
    attempts = message.get("attempts") or ()
    last = [_attempt(attempt) for attempt in attempts[-_MOST_ATTEMPTS:]]
    if (more := len(attempts) - len(last)) > 0:
        last.insert(0, f"{more} more")
    text = " → ".join(last)
    error = (attempts[-1].get("error") or {}) if attempts else {}
    return f"{text} {_reason(error)}" if error.get("message") else text


def receipts_text(counters: Mapping[str, int]) -> str:
    """Write the receipts of a group: `3 recipients: 2 delivered, 1 failed`."""
    recipients = counters.get(_RECIPIENTS, 0)
    parts = [
        f"{count:,} {printable(name, limit=_LONGEST_NAME)}"
        for name, count in counters.items()
        if count and name != _RECIPIENTS
    ]
    head = f"{recipients:,} recipient{'s'[: recipients != 1]}"
    return f"{head}: {', '.join(parts)}" if parts else head


def breakdown_text(breakdown: Mapping[str, Any]) -> str:
    """Write a breakdown: `120 failed: 30003 Unreachable destination handset ×80, 30005 … ×40`."""
    errors = breakdown["errors"]
    total = sum(one["count"] for one in errors or breakdown["messages"])
    reasons = list(_reasons(errors[:_MOST_CODES]))
    if (more := len(errors) - len(reasons)) > 0:
        reasons.append(f"{more} more code{'s'[: more != 1]}")
    text = f"{total:,} failed: {', '.join(reasons) or 'the API gives no reasons'}"
    return text if breakdown["complete"] else f"{text} (not all of it could be read)"


def alert_text(alert: Mapping[str, Any]) -> str:
    """Write why a rule fired: `bad-numbers: ratio 0.12 reached 0.1`."""
    name = printable(alert["name"], limit=_LONGEST_NAME)
    return f"{name}: {alert['measure']} {alert['value']:g} reached {alert['threshold']:g}"


def _attempt(attempt: Mapping[str, Any]) -> str:
    error = attempt.get("error") or {}
    parts = (channel_of(attempt), (attempt.get("status") or "").lower(), error.get("code"))
    words = [printable(str(part), limit=_LONGEST_NAME) for part in parts if part]
    return " ".join(words) or "?"


def _reasons(errors: list[Mapping[str, Any]]) -> Iterator[str]:
    for error in errors:
        code = "no code" if error["code"] is None else str(error["code"])
        words = f"{printable(code, limit=_LONGEST_NAME)} {_reason(error)}".rstrip()
        yield f"{words} ×{error['count']:,}"


def _reason(error: Mapping[str, Any]) -> str:
    return printable(error["message"] or "", limit=_LONGEST_REASON).rstrip(".")
