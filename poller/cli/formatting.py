"""What the control API's documents say, in words for people. Pure; the clock is an argument."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from poller.cli.summary import message_text
from poller.comms.ids import is_message_id
from poller.comms.kinds import DEFAULT_KIND, KINDS
from poller.server.documents import DeliveryDocument, OperationDocument, TimelineEventDocument
from poller.text import parse_instant, printable
from poller.tracking.progress import Progress, read_progress, read_receipts

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86_400
_NOTHING: Final = "–"
_LONGEST_STATUS: Final = 24


def counters(operation: OperationDocument) -> dict[str, int]:
    """Return the counters, without zeros: recipients of an operation, attempts of a message."""
    return {name: value for name, value in operation["counters"].items() if value}


def done(operation: OperationDocument) -> int:
    """Count the recipients that nothing more happens to; a message has one, a group more."""
    if _is_single(operation):
        return int(operation["outcome"] not in {None, "lost"})
    return _progress(operation).done


def total(operation: OperationDocument) -> int | None:
    """Count all recipients; None where that is not known."""
    if _is_single(operation):
        return 1
    return _progress(operation).total


def progress(operation: OperationDocument) -> str:
    """Write how many are where: `60 of 100 done: 40 sent, 60 delivered`; nothing for no counters.

    Each message counts once, also where the vendor's counters are cumulative.
    Of a message its attempts: `RCS failed 61337 → SMS delivered`.
    """
    if is_message_id(operation["id"]):
        return message_text(operation["snapshot"] or {}, operation["counters"])
    shown = {**counters(operation), **_progress(operation).stages}
    found = [f"{value:,} {name}" for name, value in shown.items() if value and name != "total"]
    of = total(operation)
    if not found:
        return ""
    return f"{done(operation):,} of {'?' if of is None else f'{of:,}'} done: {', '.join(found)}"


def failed(operation: OperationDocument) -> int:
    """Count the recipients that were not reached."""
    if _is_single(operation):
        return int(operation["outcome"] == "failed")
    return _progress(operation).failed


def standing(operation: OperationDocument) -> str:
    """Say in one or two words how it is: how it ended, or what it does."""
    phase, outcome = operation["phase"], operation["outcome"]
    speaks = _is_single(operation) and phase != "forgotten" and outcome != "lost"
    if phase == "active" or speaks:
        said = operation["status"]
    else:
        said = outcome if phase == "ended" else phase
    return printable(said or "waiting", limit=_LONGEST_STATUS).lower()


def shortened(name: str, size: int) -> str:
    """Cut a name to its end, where an id is random: `…kx3fa9`; whole where it fits."""
    return name if len(name) <= size else f"…{name[1 - size :]}"


def labels_text(labels: Mapping[str, str]) -> str:
    """Write labels as they are given: `campaign=autumn team=a`."""
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
    """Say why an event is where it is; `numbers` are the sequence numbers of events by id."""
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
            return "no settings name this sink; configure it again within three days"
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
    """Sum up one sink in a sentence, and name the event to replay, None where none is dead."""
    states = Counter[str](delivery["state"] for _, delivery in deliveries)
    numbers = {event["id"]: event["sequence"] for event, _ in deliveries}
    parts = [f"{states[state]} {state}" for state in _in_order(states)]
    said = f"{sink}: {', '.join(parts)}"
    stuck = _first(deliveries, "waiting")
    if stuck is not None:
        said += f"; #{stuck[0]['sequence']} {why(stuck[1], numbers, now)}"
    dead = _first(deliveries, "dead")
    if dead is None:
        return said, None
    return f"{said}; #{dead[0]['sequence']} {why(dead[1], numbers, now)}", dead[0]["id"]


def _progress(operation: OperationDocument) -> Progress:
    if is_message_id(operation["id"]):
        return read_receipts(operation["counters"])
    return read_progress(KINDS.get(operation["kind"], DEFAULT_KIND), operation["counters"])


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
