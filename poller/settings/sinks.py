"""The settings of a sink, by type, and the event patterns that it can subscribe to."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    WithJsonSchema,
    model_validator,
)

from poller.settings.addresses import check_webhook_url
from poller.settings.errors import as_fault, fault, suggestion
from poller.settings.fields import Duration, Section, between
from poller.sinks.receiver import check_header_name, check_header_value
from poller.sinks.signature import KEYGEN_COMMAND, parse_secret

FINAL: Final = "final"
"""The pattern for the final event of each watch."""

SUMMARY: Final = "summary"
"""The pattern for ends and breakdowns, of groups and of operations without a group."""

EVENT_TYPES: Final = (
    "operation.scheduled",
    "operation.processing",
    "operation.progress",
    "operation.changed",
    "operation.completed",
    "operation.canceled",
    "operation.settled",
    "operation.lost",
    "operation.breakdown",
    "operation.alert",
    "message.scheduled",
    "message.queued",
    "message.sent",
    "message.group",
    "message.progress",
    "message.changed",
    "message.delivered",
    "message.read",
    "message.undelivered",
    "message.failed",
    "message.canceled",
    "message.inbound",
    "message.settled",
    "message.lost",
    "group.progress",
    "group.completed",
    "group.breakdown",
    "group.alert",
)
"""Every event type that a sink can subscribe to."""

CHAT_FORMATS: Final = frozenset({"slack", "discord", "teams"})
"""The webhook formats for people."""

FOR_PEOPLE: Final = (SUMMARY, "*.alert")
"""The default events of a sink with such a format."""

_FAMILIES: Final = tuple(dict.fromkeys(f"{name.partition('.')[0]}.*" for name in EVENT_TYPES))
_NAMES: Final = tuple(dict.fromkeys(f"*.{name.partition('.')[2]}" for name in EVENT_TYPES))
_PATTERNS: Final = ("*", FINAL, SUMMARY, *_FAMILIES, *_NAMES, *EVENT_TYPES)


def check_pattern(text: str) -> str:
    """Return the pattern unchanged: `*`, `final`, a family such as `operation.*`, or a type.

    `*.alert` and the like are the types of this name in all families.

    :raises PydanticCustomError: if no event can ever match it; names a similar one that does.
    """
    if text not in _PATTERNS:
        meant = suggestion(text, _PATTERNS)
        nearest = "" if meant is None else f'the nearest is "{meant}"; '
        raise fault("matches no event", f'{nearest}write "*", "{FINAL}", "operation.*" or a type')
    return text


EventPattern = Annotated[
    str,
    AfterValidator(check_pattern),
    WithJsonSchema({"type": "string", "enum": list(_PATTERNS)}),
]


SINK_NAME: Final = "[a-z][a-z0-9_]*"


def _check_name(name: str) -> str:
    if not re.fullmatch(SINK_NAME, name):
        plain = re.sub(r"[^a-z0-9_]", "_", name.lower()).lstrip("_0123456789") or "app"
        raise fault(
            "not a valid name",
            f'use lower-case letters, digits and "_", and begin with a letter: {plain}',
        )
    return name


def _not_empty(patterns: tuple[str, ...]) -> tuple[str, ...]:
    if not patterns:
        raise fault("an empty list, which no event ever matches", 'leave it out, or write ["*"]')
    return patterns


def _check_path(path: Path) -> Path:
    if path.name in {"", ".."} or "\0" in str(path):
        raise fault("not the path of a file", "write a path such as /var/log/poller/events.ndjson")
    return path


def _check_secret(secret: SecretStr) -> SecretStr:
    try:
        parse_secret(secret.get_secret_value())
    except ValueError as exc:
        what, _, _ = str(exc).partition(". Make one with: ")
        raise fault(what, f"make one with: {KEYGEN_COMMAND}") from None
    return secret


def _check_header_name(name: str) -> str:
    with as_fault():
        check_header_name(name)
    return name.lower()


def _check_header_value(value: SecretStr) -> SecretStr:
    with as_fault():
        check_header_value(value.get_secret_value())
    return value


_PemPath = Annotated[
    Annotated[Path, AfterValidator(_check_path)] | None,
    BeforeValidator(lambda value: None if value == "" else value),
]
SinkName = Annotated[str, AfterValidator(_check_name)]
_HeaderName = Annotated[str, AfterValidator(_check_header_name)]
_HeaderValue = Annotated[SecretStr, AfterValidator(_check_header_value)]


class _AnySink(Section):
    type: str
    events: Annotated[tuple[EventPattern, ...], AfterValidator(_not_empty)] = Field(
        default=("*",),
        description="the events to deliver: types, families such as `operation.*`, all of one "
        "name such as `*.alert`, `*`, `final` for one event per operation or group, or `summary` "
        "for the ends and breakdowns of groups and of operations without a group",
        examples=[["operation.*"], ["final"]],
        json_schema_extra={"minItems": 1},
    )
    labels: dict[str, str] = Field(
        default_factory=dict,
        description="only events of operations with all of these labels",
        examples=[{"campaign": "autumn"}],
    )


class StdoutSinkSettings(_AnySink):
    """Events as lines on standard output."""

    type: Literal["stdout"] = Field(
        default="stdout", description="lines on standard output", examples=["stdout"]
    )


class FileSinkSettings(_AnySink):
    """Events as lines appended to a file."""

    type: Literal["file"] = Field(
        default="file", description="lines appended to a file", examples=["file"]
    )
    path: Annotated[Path, AfterValidator(_check_path)] = Field(
        description="the file", examples=["/var/log/poller/events.ndjson"]
    )


class WebhookSinkSettings(_AnySink):
    """Events posted to a URL; with a secret, signed according to Standard Webhooks."""

    type: Literal["webhook"] = Field(
        default="webhook", description="signed HTTP posts to your application", examples=["webhook"]
    )
    format: Literal["cloudevents", "slack", "discord", "teams"] = Field(
        default="cloudevents",
        description="`cloudevents` for a program, or a short message for a channel of `slack`, "
        "`discord` or `teams`; for these the default of `events` is `summary` and alerts",
    )
    # A query may contain a token, so repr does not show the URL; `describe` shows it masked.
    url: Annotated[str, AfterValidator(check_webhook_url)] = Field(
        repr=False,
        description="where to post, http or https, without user info",
        examples=["https://app.example.com/hooks/poller"],
    )
    secret: Annotated[SecretStr, AfterValidator(_check_secret)] | None = Field(
        default=None,
        description="signing secret: `whsec_` and the base64 of 24 to 64 random bytes; several, "
        "separated by spaces, while rotating; without it requests are not signed",
    )
    headers: dict[_HeaderName, _HeaderValue] = Field(
        default_factory=dict,
        description="further headers, such as `authorization`; their values are kept secret",
    )
    timeout: Annotated[Duration, AfterValidator(between("100ms", "5m"))] = Field(
        default=15.0, description="time limit of one attempt", examples=["15s"]
    )

    ca: _PemPath = Field(
        default=None,
        description="PEM file of the certificate authorities to trust, instead of the system's",
        examples=["/etc/poller/ca.pem"],
    )
    client_cert: _PemPath = Field(
        default=None,
        description="PEM file of the client certificate (mutual TLS)",
        examples=["/etc/poller/client.pem"],
    )
    client_key: _PemPath = Field(
        default=None,
        description="PEM file of its unencrypted key, if `client_cert` does not contain it",
        examples=["/etc/poller/client.key"],
    )

    @model_validator(mode="before")
    @classmethod
    def _with_events_for_people(cls, values: object) -> object:
        """Give formats for people their own default events."""
        if not isinstance(values, Mapping) or values.get("format") not in tuple(CHAT_FORMATS):
            return values
        return {"events": FOR_PEOPLE, **values}

    @model_validator(mode="after")
    def _unsigned_for_people(self) -> Self:
        if self.is_for_people and self.secret is not None:
            raise fault(f"{self.format} verifies no signature", "remove it", field="secret")
        return self

    @model_validator(mode="after")
    def _encrypted(self) -> Self:
        for name in ("ca", "client_cert", "client_key"):
            if getattr(self, name) is not None and not self.url.startswith("https:"):
                raise fault("requires https", "use an https URL in url", field=name)
        if self.client_key is not None and self.client_cert is None:
            raise fault("a key without its certificate", "set client_cert", field="client_key")
        return self

    @property
    def is_for_people(self) -> bool:
        """Whether it posts messages to a chat service, which are not signed."""
        return self.format in CHAT_FORMATS

    @property
    def pem_files(self) -> tuple[Path, ...]:
        """The files of certificates and keys that are set."""
        files = (self.ca, self.client_cert, self.client_key)
        return tuple(file for file in files if file is not None)

    @property
    def is_unsigned(self) -> bool:
        """Whether it posts unsigned events to a program: anybody could forge them."""
        return self.secret is None and not self.is_for_people

    @property
    def signing_keys(self) -> tuple[bytes, ...]:
        """The keys that sign each request; empty without a secret."""
        return () if self.secret is None else parse_secret(self.secret.get_secret_value())


SINK_TYPES: Final = (StdoutSinkSettings, FileSinkSettings, WebhookSinkSettings)

SinkSettings = Annotated[
    StdoutSinkSettings | FileSinkSettings | WebhookSinkSettings, Field(discriminator="type")
]


def default_sinks() -> dict[SinkName, SinkSettings]:
    """Return the sinks if none is configured: everything to standard output."""
    return {"stdout": StdoutSinkSettings()}
