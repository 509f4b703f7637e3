"""The shipped JSON Schema says what is emitted, and no less."""

import json
import warnings
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from jsonschema import Draft202012Validator

from poller.tracking.event import event_id, load_event_schema
from poller.tracking.lifecycle import EventType
from poller.tracking.pacing import Policy
from tests.tracking.histories import HISTORIES, History
from tests.tracking.story import START, Story

VALIDATOR = Draft202012Validator(
    load_event_schema(), format_checker=Draft202012Validator.FORMAT_CHECKER
)


def _story() -> Story:
    """Make one event of each type, in two lives."""
    story = Story(Policy(progress_interval=0, settle=60, not_found_grace=0))
    story.register(team="a")
    for status in ("SCHEDULED", "PROCESSING", "PROCESSING", "ODD"):
        story.see(status, queued=len(story.events), updated="2026-11-22T10:00:00Z")
    for _ in range(3):
        story.not_found()
    story.register()
    story.see("COMPLETED", sent=1)
    story.see("COMPLETED")
    return story


def _document(event_type: str) -> dict[str, Any]:
    stories = [_story(), Story()]
    stories[1].see("CANCELED", delivered=1)
    events = {
        name: event
        for story in stories
        for name, event in zip(story.types, story.events, strict=True)
    }
    document = json.loads(events[event_type].render(event_id(START, 1)))
    assert VALIDATOR.is_valid(document)
    return dict(document)


def test_the_schema_is_a_schema() -> None:
    """It is valid itself, and its formats are really checked."""
    Draft202012Validator.check_schema(load_event_schema())
    assert {"uri", "date-time"} <= set(Draft202012Validator.FORMAT_CHECKER.checkers)


def test_each_caller_gets_its_own() -> None:
    """Nobody can spoil it for others."""
    load_event_schema().clear()
    assert load_event_schema()


def test_the_schema_knows_every_type() -> None:
    """None is emitted that its description leaves out."""
    text = json.dumps(load_event_schema())
    for known in EventType:
        assert f'"{known.value}"' in text


@given(history=HISTORIES)
def test_every_event_is_valid(history: History) -> None:
    """Whatever the API answered."""
    for line in history.lines:
        VALIDATOR.validate(json.loads(line))


@given(history=HISTORIES)
def test_the_cloudevents_sdk_accepts_every_event(history: History) -> None:
    """As the body of a request in structured mode; attributes and data come out as they went in."""
    for line in history.lines:
        message = HTTPMessage(
            headers={"content-type": "application/cloudevents+json"}, body=line.encode()
        )
        event = from_http(message, JSONFormat())
        assert isinstance(event, CloudEvent)
        document = json.loads(line)
        assert event.get_data() == document["data"]
        for name in ("id", "source", "type", "subject"):
            assert event.get_attributes()[name] == document[name]
        assert event.get_extension("sequence") == document["sequence"]
        assert event.get_extension("partitionkey") == document["partitionkey"]


def test_the_older_sdk_accepts_an_event() -> None:
    """Many receivers still use its first interface."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from cloudevents.v1.conversion import from_json  # noqa: PLC0415 - it warns when imported
        from cloudevents.v1.http import CloudEvent as OldEvent  # noqa: PLC0415 - as above

        for event in _story().events:
            read = from_json(OldEvent, event.render(event_id(START, 1)))
            assert read["sequence"] == f"{event.sequence:010d}"


@pytest.mark.parametrize(
    "type_", ["operation.archived", "operation.resumed", "message.bounced", "message.gone"]
)
def test_later_types_and_members_are_allowed(type_: str) -> None:
    """Within 1.x members and types are only added."""
    document = _document("progress") | {"type": type_, "laterattribute": "00-1"}
    document["data"] = {"message": {"id": "x"}, "final": False}
    VALIDATOR.validate(document)


@pytest.mark.parametrize(
    ("event_type", "path", "wrong"),
    [
        ("progress", "specversion", "0.3"),
        ("progress", "id", "a.b"),
        ("progress", "id", ""),
        ("progress", "source", "not a uri"),
        ("progress", "type", "completed"),
        ("progress", "type", "operation.Completed"),
        ("progress", "subject", ""),
        ("progress", "time", "2026-11-22T10:00:00.123+00:00"),
        ("progress", "time", "2026-13-22T10:00:00.123Z"),
        ("progress", "datacontenttype", "text/json"),
        ("progress", "sequence", "7"),
        ("progress", "sequence", 7),
        ("progress", "data.kind", None),
        ("progress", "data.previousStatus", 1),
        ("progress", "data.delta", {"queued": 0}),
        ("progress", "data.delta", {"queued": "1"}),
        ("progress", "data.delta", {"queued": 1.5}),
        ("progress", "data.observedAt", "yesterday"),
        ("progress", "data.final", True),
        ("progress", "data.labels", {"team": 1}),
        ("progress", "data.reason", "expired"),
        ("progress", "data.operation", {"id": "x"}),
        ("progress", "data.operation.stats", None),
        ("scheduled", "data.operation.status", "PROCESSING"),
        ("processing", "data.operation.status", "SCHEDULED"),
        ("changed", "data.final", True),
        ("completed", "data.operation.status", "CANCELED"),
        ("completed", "data.reason", "expired"),
        ("canceled", "data.operation.status", "COMPLETED"),
        ("canceled", "data.final", False),
        ("settled", "data.final", False),
        ("settled", "data.previousStatus", "PROCESSING"),
        ("lost", "data.final", False),
        ("lost", "data.reason", None),
    ],
)
def test_what_is_no_event_is_refused(event_type: str, path: str, wrong: object) -> None:
    """One wrong member is enough."""
    document = _document(event_type)
    *way, name = path.split(".")
    place = document
    for step in way:
        place = place[step]
    place[name] = wrong
    assert not VALIDATOR.is_valid(document)


@pytest.mark.parametrize("path", ["id", "sequence", "partitionkey", "data", "data.delta"])
def test_required_members_are_required(path: str) -> None:
    """An event without them is not valid."""
    document = _document("progress")
    *way, name = path.split(".")
    place = document
    for step in way:
        place = place[step]
    del place[name]
    assert not VALIDATOR.is_valid(document)
