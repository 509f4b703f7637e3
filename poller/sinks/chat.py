"""The text of a chat message about an event: a title, a few lines, a link. Pure.

It is written for the people behind a campaign: what ended, in numbers, what failed most, how long
it took. All text from outside (names, labels, error messages) is one printable line without phone
numbers and e-mail addresses; `formats` escapes it for the service that shows it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from urllib.parse import quote

from poller.contacts import scrub
from poller.text import counted, parse_instant, printable

_LONGEST_WORD: Final = 40
_LONGEST_NAME: Final = 80
_LONGEST_SENTENCE: Final = 200
_MOST_LABELS: Final = 3
_MOST_COUNTERS: Final = 8
_MOST_CODES: Final = 3
_TOTALS: Final = ("total", "recipients")
_NOT_OUTCOMES: Final = frozenset({*_TOTALS, "attempts", "attempted"})
"""Counters that are not an outcome of recipients."""
_FAILURES: Final = ("failed", "undelivered", "unaddressable")
_SIGNS: Final = {
    "alert": "🚨",
    "breakdown": "🔎",
    "canceled": "🚫",
    "failed": "❌",
    "lost": "❌",
    "undelivered": "❌",
}
_REASONS: Final = {
    "not_found": "the API does not know it",
    "rejected": "the API refuses its id",
    "expired": "it has not ended within seven days",
}
_OF_URLS: Final = ":/[]@!$&'*+,;=%~"
"""Characters of `public_url` that are not escaped; others could end a link in a message."""
_HEADLINES: Final = {"breakdown": "why messages failed"}
_TEST: Final = "poller.test"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMessage:
    """A message before it is written for a service; `link` is empty where there is none."""

    title: str
    lines: Sequence[str]
    link: str = ""


def compose(event: Mapping[str, Any], public_url: str) -> ChatMessage:
    """Return a message about this CloudEvent.

    `public_url` is where people reach the page; empty where they cannot.
    """
    data = event["data"]
    if event["type"] == _TEST:
        return ChatMessage(
            title="✅ Test message from comms-poller",
            lines=[_outside(data["note"], _LONGEST_SENTENCE)],
        )
    family, _, happened = event["type"].partition(".")
    shown = data.get(family)
    snapshot = shown if isinstance(shown, Mapping) else data
    name = _name(event["subject"], family, data)
    alert = data.get("alert")
    headline = _HEADLINES.get(happened, happened)
    if alert is not None:
        headline = f"alert {_outside(alert['name'], _LONGEST_WORD)}"
    lines = [_about(event["subject"], family, data), *_lines(event, snapshot)]
    return ChatMessage(
        title=f"{_sign(happened, snapshot, data)} {name}: {headline}",
        lines=[line for line in lines if line],
        link=_link(event["subject"], family, public_url),
    )


def _outside(text: object, limit: int = _LONGEST_NAME) -> str:
    return printable(scrub(str(text)), limit=limit)


def _name(subject: str, family: str, data: Mapping[str, Any]) -> str:
    """Return what to call the subject: the group's name, else its labels, else its id."""
    if family == "group":
        return f"Group {_outside(subject)}"
    labels = list(data["labels"].items())[:_MOST_LABELS]
    if not labels:
        return f"{family.capitalize()} {_outside(subject)}"
    return ", ".join(
        f"{_outside(key, 40)} {_outside(value, _LONGEST_NAME)}" for key, value in labels
    )


def _about(subject: str, family: str, data: Mapping[str, Any]) -> str:
    if family == "group" or not data["labels"]:
        return ""
    return f"{family.capitalize()} {_outside(subject)}"


def _sign(happened: str, snapshot: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    if happened in _SIGNS:
        return _SIGNS[happened]
    if not data["final"]:
        return "▶️"
    counters = _counters(snapshot)
    return "⚠️" if any(counters.get(name) for name in _FAILURES) else "✅"


def _lines(event: Mapping[str, Any], snapshot: Mapping[str, Any]) -> Iterator[str]:
    data = event["data"]
    reason = data.get("reason")
    if reason is not None:
        yield f"No longer watched: {_REASONS.get(reason) or _outside(reason, _LONGEST_SENTENCE)}"
    if "alert" in data:
        yield _crossed(data["alert"])
    yield _members(data)
    yield _numbers(_counters(snapshot))
    yield from _causes(data.get("breakdown"))
    yield _duration(event, snapshot)


def _crossed(alert: Mapping[str, Any]) -> str:
    """Write the value and the threshold of an alert; an unknown measure is named as it is."""
    value, threshold = alert["value"], alert["threshold"]
    match alert["measure"]:
        case "ratio":
            return f"{100 * value:.3g} % of the finished ones (alert at {100 * threshold:.3g} %)"
        case "stalled":
            since, limit = _span(timedelta(seconds=value)), _span(timedelta(seconds=threshold))
            return f"Nothing has moved for {since} (alert after {limit})"
        case "count":
            return f"{counted(value, 'message')} (alert at {threshold:,})"
        case measure:
            return f"{_outside(measure)}: {value:,} (alert at {threshold:,})"


def _members(data: Mapping[str, Any]) -> str:
    counts = data.get("operations")
    if not isinstance(counts, Mapping):
        return ""
    parts = [f"{count:,} {name}" for name, count in counts.items() if name != "total" and count]
    return f"{counted(counts['total'], 'operation')}: {', '.join(parts)}"


def _counters(snapshot: Mapping[str, Any]) -> dict[str, int]:
    stats = snapshot.get("stats")
    known = stats.items() if isinstance(stats, Mapping) else ()
    return {name: count for name, count in known if type(count) is int and count > 0}


def _numbers(counters: Mapping[str, int]) -> str:
    """Write the outcomes of the recipients, in the vendor's words and with their shares."""
    total = next((counters[name] for name in _TOTALS if name in counters), 0)
    names = [name for name in counters if name not in _NOT_OUTCOMES][:_MOST_COUNTERS]
    parts = [
        f"{counters[name]:,} {_outside(name, 40)}{_share(counters[name], total)}" for name in names
    ]
    if not total:
        return ", ".join(parts)
    noun = "recipient" if total == 1 else "recipients"
    return f"{total:,} {noun}: {', '.join(parts)}" if parts else f"{total:,} {noun}"


def _share(count: int, total: int) -> str:
    if not total or count >= total:
        return ""
    percent = 100 * count / total
    return f" ({percent:.0f} %)" if percent >= 10 else f" ({percent:.2g} %)"  # noqa: PLR2004


def _causes(breakdown: object) -> Iterator[str]:
    """Name the most frequent error codes; the event has them in that order."""
    if not isinstance(breakdown, Mapping):
        return
    errors = breakdown["errors"]
    for error in errors[:_MOST_CODES]:
        code, why = error["code"], error["message"]
        line = f"{error['count']:,} × " + ("no code" if code is None else f"error {_outside(code)}")
        yield line if why is None else f"{line}: {_outside(why, _LONGEST_SENTENCE)}"
    if len(errors) > _MOST_CODES:
        yield f"and {len(errors) - _MOST_CODES:,} more"


def _duration(event: Mapping[str, Any], snapshot: Mapping[str, Any]) -> str:
    """Write how long it took, from its creation to its last change by the API's dates."""
    begun = parse_instant(snapshot.get("createdAt"))
    ended = parse_instant(snapshot.get("updatedAt")) or parse_instant(event["time"])
    if begun is None or ended is None or ended < begun or not event["data"]["final"]:
        return ""
    return f"Took {_span(ended - begun)}"


def _span(span: timedelta) -> str:
    """Write a length of time in its two largest units."""
    seconds = int(span / timedelta(seconds=1))
    units = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)]
    parts: list[str] = []
    for unit, size in units:
        count, seconds = divmod(seconds, size)
        if count or parts:
            parts.append(f"{count} {unit}")
    return " ".join(part for part in parts[:2] if not part.startswith("0 ")) or "less than 1 s"


def _link(subject: str, family: str, public_url: str) -> str:
    if not public_url or family == "message":
        return ""
    view = "groups" if family == "group" else "operations"
    return f"{quote(public_url, safe=_OF_URLS)}/#/{view}/{quote(subject, safe='')}"
