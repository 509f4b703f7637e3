"""Prints an operation: its state, its events, and why a delivery is delayed."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

from rich.text import Text

from poller.cli.formatting import labels_text, progress, sentence, when, why
from poller.cli.output import is_terminal, own_command, print_table, terminal, wrapped
from poller.comms.ids import is_message_id
from poller.server.documents import DeliveryDocument, OperationStoryDocument, TimelineEventDocument
from poller.text import printable

_COLUMNS: Final = ("EVENT", "#", "TYPE", "TIME", "CHANGE", "SINK", "STATE", "WHY")
_WIDTH: Final = 12
_INDENT: Final = " " * 5
_NO_SINK: Final = "no sink receives it"
_STYLES: Final = {"delivered": "green", "waiting": "yellow", "blocked": "yellow", "dead": "red"}

Delivered = tuple[TimelineEventDocument, DeliveryDocument]


def print_operation(story: OperationStoryDocument, now: datetime) -> None:
    """Print the daemon's document of an operation, for people."""
    print_facts(_facts(story, now))
    if story["events"]:
        sys.stdout.write("\n")
        sys.stdout.flush()
        if is_terminal():
            screen = terminal()
            for line in _lines(story["events"], now):
                text = wrapped(line.plain, width=screen.width, indent=_INDENT)
                # only a text on one line keeps the styles of its parts
                shown = Text(text, style=line.style) if "\n" in text else line
                screen.print(shown, soft_wrap=True)
        else:
            print_table(_COLUMNS, _rows(story["events"], now))
    _print_notes(list(_notes(story, now)))


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print names and values, one pair a line."""
    for name, value in facts:
        if is_terminal():
            screen = terminal()
            begin, indent = f"{name:<{_WIDTH}}", " " * _WIDTH
            text = wrapped(value, width=screen.width, begin=begin, indent=indent)
            screen.print(text, soft_wrap=True)
        else:
            sys.stdout.write(f"{name}\t{value}\n")


def _facts(story: OperationStoryDocument, now: datetime) -> Iterator[tuple[str, str]]:
    phase = story["phase"]
    state = phase if story["outcome"] is None else f"{phase}, {story['outcome']}"
    yield "message" if is_message_id(story["id"]) else "operation", story["id"]
    yield "kind", story["kind"]
    yield "status", f"{printable(story['status'] or 'not seen yet')} ({state})"
    if text := progress(story):
        yield "progress", text
    if story["labels"]:
        yield "labels", printable(labels_text(story["labels"]), limit=1000)
    if story["traceparent"] is not None:
        yield "traceparent", story["traceparent"]
    if story["tracestate"] is not None:
        yield "tracestate", story["tracestate"]
    yield "account", printable(story["account"])
    yield "source", story["source"]
    for name, member in (
        ("registered", story["registeredAt"]),
        ("observed", story["observedAt"]),
        ("ended", story["endedAt"]),
        ("next look", story["nextLookAt"]),
    ):
        if member is not None:
            yield name, f"{member} ({when(member, now)})"


def _rows(events: Sequence[TimelineEventDocument], now: datetime) -> Iterator[Sequence[str]]:
    numbers = {event["id"]: event["sequence"] for event in events}
    for event in events:
        cells = (
            event["id"],
            str(event["sequence"]),
            event["type"].partition(".")[2],
            event["time"],
            _change(event),
        )
        for delivery in event["deliveries"]:
            yield (*cells, delivery["sink"], delivery["state"], why(delivery, numbers, now))
        if not event["deliveries"]:
            yield (*cells, "–", "–", _NO_SINK)


def _lines(events: Sequence[TimelineEventDocument], now: datetime) -> Iterator[Text]:
    """Draw the timeline: one line of sinks with a delivery, and one for each without, with why."""
    numbers = {event["id"]: event["sequence"] for event in events}
    for event in events:
        kind = event["type"].partition(".")[2]
        yield Text.assemble(
            (f"#{event['sequence']:<4}{kind:<{_WIDTH}}", "bold"),
            f"{when(event['time'], now):<{_WIDTH}}",
            (event["id"], "dim"),
        )
        yield Text(f"{_INDENT}{_change(event)}", style="dim")
        done = [one["sink"] for one in event["deliveries"] if one["state"] == "delivered"]
        if done:
            yield Text(f"{_INDENT}delivered to {', '.join(done)}", style=_STYLES["delivered"])
        for delivery in event["deliveries"]:
            if (state := delivery["state"]) != "delivered":
                text = f"{_INDENT}{delivery['sink']}: {state}, {why(delivery, numbers, now)}"
                yield Text(text, style=_STYLES[state])
        if not event["deliveries"]:
            yield Text(f"{_INDENT}{_NO_SINK}", style="dim")


def _change(event: TimelineEventDocument) -> str:
    if event["reason"]:
        return event["reason"]
    return " ".join(f"{name}{change:+}" for name, change in event["delta"].items()) or "–"


def _notes(story: OperationStoryDocument, now: datetime) -> Iterator[str]:
    """Yield notes for below the table: what was left out, and the state of each sink."""
    if story["pruned"]:
        yield "its events are no longer kept (store.retention)"
    elif story["earlierEvents"]:
        yield f"{story['earlierEvents']} earlier events are left out; --events shows more"
    by_sink: dict[str, list[Delivered]] = {}
    for event in story["events"]:
        for delivery in event["deliveries"]:
            by_sink.setdefault(delivery["sink"], []).append((event, delivery))
    for sink, deliveries in sorted(by_sink.items()):
        summary, dead = sentence(sink, deliveries, now)
        yield summary
        if dead is not None:
            yield f"{sink}: send it again with: {own_command()} replay {dead} --to {sink}"


def _print_notes(notes: Sequence[str]) -> None:
    if notes:
        sys.stdout.write("\n")
    for note in notes:
        if is_terminal():
            screen = terminal()
            # a command stays on one line, so that it can be copied
            is_command = own_command() in note
            text = note if is_command else wrapped(note, width=screen.width, indent="  ")
            screen.print(text, soft_wrap=True)
        else:
            sys.stdout.write(note + "\n")
