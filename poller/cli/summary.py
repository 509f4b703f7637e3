"""What messages and breakdowns come to, in one line for people. Pure.

The input is what events and the control API tell: its names and texts are the vendor's.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from poller.text import printable
from poller.tracking.privacy import channel_of

__all__ = ["alert_text", "attempts_text", "breakdown_text", "message_text", "receipts_text"]

_RECIPIENTS: Final = "recipients"
_MOST_ATTEMPTS: Final = 4
_MOST_CODES: Final = 3
_LONGEST_NAME: Final = 24
_LONGEST_REASON: Final = 60


def message_text(message: Mapping[str, Any], counters: Mapping[str, int]) -> str:
    """Say what became of a message so far: its attempts, or the receipts of a group."""
    if message.get("status") == "GROUP" and counters.get(_RECIPIENTS):
        return receipts_text(counters)
    if attempts := attempts_text(message):
        return attempts
    at = message.get("scheduledFor")
    is_scheduled = message.get("status") == "SCHEDULED" and isinstance(at, str)
    return f"due {printable(at, limit=_LONGEST_NAME)}" if is_scheduled and at else ""


def attempts_text(message: Mapping[str, Any]) -> str:
    """Write the attempts one after the other: `RCS failed 61337 → SMS delivered`.

    Where the last one has failed, the vendor's text says why.
    """
    attempts = message.get("attempts") or ()
    last = [_attempt(attempt) for attempt in attempts[-_MOST_ATTEMPTS:]]
    if (more := len(attempts) - len(last)) > 0:
        last.insert(0, f"{more} more")
    said = " → ".join(last)
    error = (attempts[-1].get("error") or {}) if attempts else {}
    return f"{said} {_reason(error)}" if error.get("message") else said


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
    said = f"{total:,} failed: {', '.join(reasons) or 'the API tells no reasons'}"
    return said if breakdown["complete"] else f"{said} (not all of it could be read)"


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
