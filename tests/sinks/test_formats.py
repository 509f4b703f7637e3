"""Messages for chat services: what they say, how they are escaped, how long they may be."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from poller.sinks.base import OutgoingEvent
from poller.sinks.chat import compose
from poller.sinks.formats import chat_format
from poller.tracking.alert import AlertRule, emit_alert, judge_standstill
from poller.tracking.event import make_event
from poller.tracking.lifecycle import EventType
from poller.tracking.pacing import Policy
from tests.golden.test_golden import compare
from tests.tracking.story import ID, Story, at, text_at

URL = "https://poller.example.com"
SERVICES = ("slack", "discord", "teams")
STATS: Mapping[str, Any] = {
    "total": 2000,
    "recipients": 2000,
    "delivered": 1880,
    "failed": 100,
    "undelivered": 20,
}


def _completed(**labels: str) -> dict[str, Any]:
    story = Story()
    story.register(**labels)
    story.wait(725).see(
        "COMPLETED", created=text_at(0), updated=text_at(725), **STATS, queued=0, attempts=2300
    )
    return _document(story)


def _document(story: Story) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(story.events[-1].render("0190-x"))
    return document


def _broken_down(*errors: Mapping[str, Any]) -> dict[str, Any]:
    story = Story()
    story.see("COMPLETED", **STATS)
    more = {"breakdown": {"errors": errors, "messages": [], "complete": True, "missing": []}}
    event = make_event(
        story.watch, EventType.OPERATION_BREAKDOWN, now=at(9), final=False, more=more
    )
    document: dict[str, Any] = json.loads(event.render("0190-y"))
    return document


def _error(code: int | None, count: int, message: str | None) -> dict[str, Any]:
    return {"code": code, "count": count, "message": message, "infoUrl": None, "samples": []}


def _canceled() -> dict[str, Any]:
    story = Story()
    story.see("CANCELED", total=10, delivered=4, canceled=6)
    return _document(story)


def _lost() -> dict[str, Any]:
    story = Story()
    story.rejected()
    story.rejected()
    return _document(story)


def _group() -> dict[str, Any]:
    document = _completed()
    counts = {"total": 12, "completed": 11, "canceled": 0, "lost": 1, "watching": 0}
    data = {"group": "autumn", "operations": counts, "stats": STATS, "labels": {}, "final": True}
    data |= {"delta": {}, "createdAt": text_at(-3600), "sealedAt": text_at(0)}
    return {**document, "type": "group.completed", "subject": "autumn", "data": data}


def _test() -> dict[str, Any]:
    data = {"sink": "team", "note": "sent by `poller check --send`; it is about no operation"}
    return {"type": "poller.test", "subject": "team", "data": data}


HOSTILE = "<!channel> @everyone *b* _i_ `c` [x](http://evil) & +14155551002 \u202e\nnext"


def _alerted(rule: AlertRule) -> dict[str, Any]:
    story = Story(Policy(alerts=(rule,)))
    story.register(campaign="autumn")
    story.see(**{**STATS, "delivered": 880})
    if rule.stalled is None:
        document: dict[str, Any] = json.loads(story.events[0].render("0190-z"))
        return document
    story.wait(1000).see(**{**STATS, "delivered": 880})
    alert = judge_standstill(rule, story.watch, now=story.now)
    assert alert is not None
    story.events.append(emit_alert(story.watch, alert, now=story.now)[1])
    return _document(story)


CASES: Mapping[str, dict[str, Any]] = {
    "completed": _completed(campaign="autumn", region="eu"),
    "canceled": _canceled(),
    "lost": _lost(),
    "group": _group(),
    "hostile": _completed(campaign=HOSTILE),
    "breakdown": _broken_down(
        _error(30007, 71, "Message filtered"),
        _error(None, 20, None),
        _error(30003, 5, "Unreachable destination handset +14155551002"),
        _error(21211, 4, None),
    ),
    "ratio": _alerted(AlertRule(name="bounces", counters=("failed",), ratio=0.05)),
    "count": _alerted(AlertRule(name="bounces", counters=("failed",), count=100)),
    "stalled": _alerted(AlertRule(name="quiet", stalled=900)),
    "test": _test(),
}


def _posted(service: str, document: Mapping[str, Any], url: str = URL) -> Any:  # noqa: ANN401 - JSON
    event = OutgoingEvent(id="e", body=json.dumps(document))
    return json.loads(chat_format(service, url).encode(event))


@pytest.mark.parametrize("service", SERVICES)
def test_the_messages(service: str) -> None:
    """Each kind of event, in the body that the service gets."""
    found = {name: _posted(service, document) for name, document in CASES.items()}
    compare(f"chat_{service}.json", json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def test_what_a_message_says() -> None:
    """What ended, in numbers and shares, how long it took, and where to see it."""
    message = compose(CASES["completed"], URL)
    assert message.title == "⚠️ campaign autumn, region eu: completed"
    assert message.lines == [
        f"Operation {ID}",
        "2,000 recipients: 1,880 delivered (94 %), 100 failed (5 %), 20 undelivered (1 %)",
        "Took 12 min 5 s",
    ]
    assert message.link == f"{URL}/#/operations/{ID}"


def test_what_failed_most() -> None:
    """The three most frequent codes, with the vendor's sentence where there is one."""
    lines = compose(CASES["breakdown"], "").lines
    assert lines[1:] == [
        "71 × error 30007: Message filtered",
        "20 × no code",
        "5 × error 30003: Unreachable destination handset •••",
        "and 1 more",
    ]


def test_without_an_address_there_is_no_link() -> None:
    """`server.public_url` is optional."""
    assert compose(CASES["completed"], "").link == ""
    assert "http" not in json.dumps(_posted("slack", CASES["completed"], ""))
    assert "actions" not in _posted("teams", CASES["completed"], "")["attachments"][0]["content"]


@pytest.mark.parametrize("service", SERVICES)
def test_no_address_of_a_recipient_is_posted(service: str) -> None:
    """A phone number in a label or an error is cut out."""
    for document in CASES.values():
        assert "4155551002" not in json.dumps(_posted(service, document))


def test_slack_sees_no_control_sequence_of_others() -> None:
    """Without `<` nobody is mentioned; formatting is off, since Slack has no escape for it."""
    body = _posted("slack", CASES["hostile"])
    own, _, link = body["text"].rpartition("\n")
    assert "<" not in own.replace("&lt;", "")
    assert "&lt;!channel&gt;" in own
    assert link.startswith(f"<{URL}/#/operations/")
    assert body["mrkdwn"] is False


def test_discord_mentions_nobody() -> None:
    """Markdown is escaped, and nothing is parsed as a mention."""
    body = _posted("discord", CASES["hostile"])
    assert body["allowed_mentions"] == {"parse": []}
    assert "\\@everyone" in body["content"]
    assert "\\[x\\]\\(http\\://evil\\)" in body["content"]


@pytest.mark.parametrize("service", SERVICES)
def test_the_longest_message_fits(service: str) -> None:
    """Long names, many counters and long errors stay within what the services take."""
    document = _broken_down(*(_error(n, n, "*" * 1000) for n in range(30000, 30010)))
    data = document["data"]
    data["labels"] = {"k" * 64 + str(n): "😀" * 256 for n in range(20)}
    data["operation"]["stats"] = {"_" * 100 + str(n): 10**18 for n in range(100)}
    document["subject"] = "x" * 5000
    body = _posted(service, document)
    assert len(json.dumps(body, ensure_ascii=False).encode("utf-16-le")) < 21_000
    if service != "teams":
        text = body["text" if service == "slack" else "content"]
        assert 100 < len(text.encode("utf-16-le")) // 2 <= 2000


@pytest.mark.parametrize("kind", ["operation.progress", "operation.unheard_of", "message.read"])
def test_any_event_can_be_posted(kind: str) -> None:
    """A sink may ask for every type, those of a later version included."""
    document = _completed() | {"type": kind}
    if kind.startswith("message"):
        document["data"]["message"] = document["data"].pop("operation")
    assert kind.partition(".")[2] in compose(document, URL).title
