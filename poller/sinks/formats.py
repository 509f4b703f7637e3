"""The formats of a webhook's body: a CloudEvent for programs, a message for chat services. Pure.

The rules of each service for outside text are in the docstring of its function.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from poller.sinks.base import OutgoingEvent
from poller.sinks.chat import ChatMessage, compose
from poller.text import dump_json

_LINK_TEXT: Final = "Open in comms-poller"


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyFormat:
    """How a webhook writes what it posts. `query` is added to the URL's own."""

    content_type: str
    encode: Callable[[OutgoingEvent], bytes]
    concurrency: int
    query: Mapping[str, str] = field(default_factory=dict)


CLOUDEVENTS: Final = BodyFormat(
    content_type="application/cloudevents+json", encode=OutgoingEvent.encoded, concurrency=16
)

_CHAT_CONCURRENCY: Final = 2
"""Chat services accept about one message a second. With 2, a refused one does not delay others."""


def slack(message: ChatMessage) -> dict[str, Any]:
    """Write the body for a Slack incoming webhook.

    `&`, `<` and `>` are escaped, as https://docs.slack.dev/messaging/formatting-message-text asks:
    without `<` there is no mention and no link in outside text. Slack knows no escape for `*`, `_`,
    `~` and backquotes, so `mrkdwn` is off. Text is cut at 40,000 characters
    (https://docs.slack.dev/reference/methods/chat.postMessage); ours has at most 2,000.
    """
    lines = [_slack_escaped(line) for line in (message.title, *message.lines)]
    if message.link:
        lines.append(f"<{_slack_escaped(message.link)}|{_LINK_TEXT}>")
    return {
        "text": _fitting(lines, _MOST_CHARACTERS),
        "mrkdwn": False,
        "unfurl_links": False,
        "unfurl_media": False,
    }


def discord(message: ChatMessage) -> dict[str, Any]:
    r"""Write the body for a Discord webhook.

    `content` has at most 2,000 characters, and an empty `allowed_mentions.parse` lets nothing
    mention anybody (https://discord.com/developers/docs/resources/webhook#execute-webhook and
    .../resources/message#allowed-mentions-object). Markdown in outside text is escaped with `\`.
    Flag 4 (SUPPRESS_EMBEDS) keeps links without a preview.
    """
    title, *lines = (_MARKDOWN.sub(r"\\\g<0>", line) for line in (message.title, *message.lines))
    lines = [f"**{title}**", *lines, *([message.link] if message.link else [])]
    return {
        "content": _fitting(lines, _MOST_CHARACTERS),
        "allowed_mentions": {"parse": []},
        "flags": 4,
    }


def teams(message: ChatMessage) -> dict[str, Any]:
    """Write the body for a workflow of Microsoft Teams that starts with a webhook request.

    It is a message with one Adaptive Card
    (https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using)
    of at most 28 KB, which our 2,000 characters cannot reach. Outside text is in a `TextRun`,
    where "Markdown is not supported"
    (https://learn.microsoft.com/adaptive-cards/schema-explorer/text-run), so nothing is escaped.
    """
    card: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [
            _teams_block(message.title, weight="Bolder"),
            *(_teams_block(line) for line in message.lines),
        ],
    }
    if message.link:
        card["actions"] = [
            {"type": "Action.OpenUrl", "title": _LINK_TEXT, "url": message.link},
        ]
    attachment = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": None,
        "content": card,
    }
    return {"type": "message", "attachments": [attachment]}


def chat_format(service: str, public_url: str) -> BodyFormat:
    """Return the format for `slack`, `discord` or `teams`."""
    write, query = _SERVICES[service]
    return BodyFormat(
        content_type="application/json",
        encode=partial(_encode, write, public_url),
        concurrency=_CHAT_CONCURRENCY,
        query=query,
    )


_Writer = Callable[[ChatMessage], dict[str, Any]]

_SERVICES: Final[Mapping[str, tuple[_Writer, Mapping[str, str]]]] = {
    "slack": (slack, {}),
    # without `wait` Discord answers before it has stored the message, and reports no failure
    "discord": (discord, {"wait": "true"}),
    "teams": (teams, {}),
}

_MOST_CHARACTERS: Final = 2000
# what Discord reads as formatting, a mention, an emoji or a link
_MARKDOWN: Final = re.compile(r"[\\*_~|`>#\-\[\]()<:@]")


def _encode(write: _Writer, public_url: str, event: OutgoingEvent) -> bytes:
    return dump_json(write(compose(json.loads(event.body), public_url))).encode()


def _slack_escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _teams_block(text: str, **style: str) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text, **style}]}


def _fitting(lines: Iterable[str], most: int) -> str:
    """Join the lines; one that no longer fits is left out, so that no escape is cut in two."""
    text = ""
    for line in lines:
        longer = f"{text}\n{line}" if text else line
        # services count in UTF-16
        if len(longer.encode("utf-16-le", "surrogatepass")) // 2 <= most:
            text = longer
    return text
