"""Request bodies: their limits, how they are read, and the models that check them."""

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Literal, Self

import anyio
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from poller.comms.ids import MESSAGE_ID, OPERATION_ID
from poller.server.control import ClientLimits
from poller.server.problems import NOT_JSON, SLOW_BODY, TOO_LARGE, UNREADABLE, Problem, invalid
from poller.server.queries import (
    DeadLetterPlace,
    GroupName,
    Instant,
    KindName,
    SinkName,
    WatchableId,
)
from poller.text import NotJson, RepeatedMember, parse_json
from poller.tracking.registration import MOST_MEMBERS
from poller.tracking.trace import LONGEST_TRACESTATE, TRACEPARENT, TRACESTATE

_MOST_IN_BULK: Final = 10_000
_SPLIT_UP: Final = f"register up to {_MOST_IN_BULK} operations at a time, in several requests"
_JSON: Final = re.compile(r"application/([\w.+-]+\+)?json", re.IGNORECASE)


class BodyLimits:
    """Refuses a body with too many bytes, or one that takes too long, when a route reads it.

    `hint` says what to do about a body that is too large.
    """

    def __init__(self, app: ASGIApp, *, limits: ClientLimits, hint: str = _SPLIT_UP) -> None:
        self._app = app
        self._limits = limits
        self._hint = hint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on the request, with a body that is limited until the answer begins."""
        body = _LimitedBody(receive, self._limits, Headers(scope=scope), self._hint)

        async def watch(message: Message) -> None:
            body.is_answered = True
            await send(message)

        await self._app(scope, body.receive, watch)


class _LimitedBody:
    def __init__(self, receive: Receive, limits: ClientLimits, headers: Headers, hint: str) -> None:
        self._receive = receive
        self._hint = hint
        self._limits = limits
        declared = headers.get("content-length", "")
        self._declared = int(declared) if declared.isdecimal() else 0
        self._taken = 0
        self._deadline: float | None = None
        self._is_whole = False
        self.is_answered = False

    async def receive(self) -> Message:
        """Receive the next part.

        :raises Problem: where the body is too large or too slow.
        """
        if self._is_whole or self.is_answered:
            return await self._receive()
        self._check_size(self._declared)
        if self._deadline is None:
            self._deadline = anyio.current_time() + self._limits.body_seconds
        try:
            with anyio.fail_after(self._deadline - anyio.current_time()):
                message = await self._receive()
        except TimeoutError:
            seconds = self._limits.body_seconds
            raise Problem(SLOW_BODY, f"no complete body within {seconds:g} s") from None
        self._taken += len(message.get("body", b""))
        self._check_size(self._taken)
        self._is_whole = not message.get("more_body", False)
        return message

    def _check_size(self, size: int) -> None:
        if size > self._limits.body_bytes:
            raise Problem(
                TOO_LARGE,
                f"a body may have up to {self._limits.body_bytes} bytes",
                hint=self._hint,
            )


class JsonBody:
    """Reads the JSON body of a request: `Annotated[Model, Depends(JsonBody(Model))]`.

    `models` describe the body. The first one checks it, unless `check` is given. If the body is not
    `required` and absent, the route gets None.
    """

    def __init__(
        self,
        *models: type[BaseModel],
        check: Callable[[object], object] | None = None,
        required: bool = True,
    ) -> None:
        self._models = models
        self._check = check or models[0].model_validate
        self.is_required = required

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of the body."""
        schemas = [model.model_json_schema() for model in self._models]
        return schemas[0] if len(schemas) == 1 else {"oneOf": schemas}

    async def __call__(self, request: Request) -> Any:  # noqa: ANN401 - as the route declares it
        """Read and check the body.

        :raises Problem: where the body or its content type is not JSON.
        :raises RequestValidationError: where the document does not match the models.
        """
        content = await request.body()
        if not content and not self.is_required:
            return None
        document = _parse(content, request.headers.get("content-type", ""))
        try:
            return self._check(document)
        except ValidationError as error:
            errors = [{**one, "loc": ("body", *one["loc"])} for one in error.errors()]
            raise RequestValidationError(errors) from None


def _parse(content: bytes, content_type: str) -> object:
    media_type = content_type.partition(";")[0].strip()
    if not _JSON.fullmatch(media_type):
        raise Problem(
            NOT_JSON,
            f"Content-Type is {media_type[:80] or 'missing'!r}",
            hint="send Content-Type: application/json",
        )
    try:
        document = parse_json(content)
    except NotJson as error:
        raise Problem(UNREADABLE, str(error)[:300]) from None
    if isinstance(document, RepeatedMember):
        raise invalid(document.name, "is given twice")
    return document


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _without_default(schema: dict[str, Any]) -> None:
    """Describe a member that is text or absent, but not null."""
    schema.pop("default", None)


class RegistrationBody(_Body):
    """An operation or a message to watch."""

    # only for the description: `parse_registration` checks the document

    model_config = ConfigDict(
        title="Registration",
        # the id of a message implies its kind
        json_schema_extra={
            "anyOf": [
                {"properties": {"id": {"pattern": f"^{OPERATION_ID.pattern}$"}}},
                {
                    "properties": {
                        "id": {"pattern": f"^{MESSAGE_ID.pattern}$"},
                        "kind": {"enum": ["messages", None]},
                    }
                },
            ],
            "dependentRequired": {"tracestate": ["traceparent"]},
        },
    )

    id: str
    kind: KindName | None = "messages"
    labels: Annotated[
        dict[
            Annotated[str, Field(min_length=1, max_length=128)],
            Annotated[str, Field(max_length=256)],
        ]
        | None,
        Field(
            max_length=32,
            description="Added to the known labels, at most 32 in all. The next event has them.",
        ),
    ] = None
    breakdown: Annotated[
        bool | None,
        Field(
            description="Whether to read, after the end, which messages failed and why. Absent or "
            "null: as set by polling.breakdown."
        ),
    ] = None
    group: Annotated[
        GroupName | None,
        Field(description="The group that counts it. Absent or null: its group does not change."),
    ] = None
    traceparent: Annotated[
        str | None,
        WithJsonSchema({"type": "string", "pattern": f"^{TRACEPARENT}$"}),
        Field(
            description="W3C Trace Context: its events carry this trace as an attribute, and "
            "webhooks as a header. Absent: its trace does not change.",
            json_schema_extra=_without_default,
        ),
    ] = None
    tracestate: Annotated[
        str | None,
        WithJsonSchema(
            {"type": "string", "pattern": f"^{TRACESTATE}$", "maxLength": LONGEST_TRACESTATE}
        ),
        Field(
            description="Requires `traceparent`; each key at most once.",
            json_schema_extra=_without_default,
        ),
    ] = None


def _whole_number(value: object) -> object:
    """Read 40.0 as 40: JSON does not distinguish them. Anything else is left to the check."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Seal(_Body):
    """When to seal a group."""

    expected: Annotated[
        Annotated[int, Field(ge=1, le=MOST_MEMBERS, strict=True), BeforeValidator(_whole_number)]
        | None,
        Field(description="Seal it once it has this number of members. Absent or null: now."),
    ] = None


class BulkRegistration(_Body):
    """Many registrations in one transaction. Each has a result of its own."""

    model_config = ConfigDict(title="Bulk")

    operations: Annotated[
        list[Annotated[Any, Field(description="A Registration.")]],
        Field(max_length=_MOST_IN_BULK),
    ]


class DeadLetterReplay(_Body):
    """Selects dead letters to send again: those that match every filter, or `all` of them."""

    sink: SinkName | None = None
    operation: Annotated[
        WatchableId | None, Field(description="Only for this operation or message.")
    ] = None
    since: Annotated[Instant | None, Field(description="Recorded then or later.")] = None
    until: Annotated[Instant | None, Field(description="Recorded before.")] = None
    all: Annotated[
        Literal[True] | None,
        Field(description="Instead of a filter: an empty body must not mean everything."),
    ] = None
    cursor: Annotated[
        DeadLetterPlace | None, Field(description="`next` of the previous answer.")
    ] = None

    @model_validator(mode="after")
    def _chooses(self) -> Self:
        filters = [self.sink, self.operation, self.since, self.until]
        if any(one is not None for one in filters) == bool(self.all):
            raise ValueError('give sink, operation, since or until, or {"all": true}')
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError("since must be before until")
        return self


class Replay(_Body):
    """The sinks to which an event is sent again."""

    sinks: Annotated[
        list[SinkName] | None,
        Field(
            min_length=1,
            max_length=100,
            description="Only these sinks. Absent or null: all sinks for which it was recorded.",
        ),
    ] = None
    sink: Annotated[
        SinkName | None,
        Field(description="Only this sink, as for dead letters; instead of `sinks`."),
    ] = None

    @model_validator(mode="after")
    def _chooses_once(self) -> Self:
        if self.sink is not None and self.sinks is not None:
            raise ValueError("give sink or sinks, not both")
        return self

    @property
    def chosen(self) -> Sequence[str] | None:
        """The chosen sinks; None for all."""
        return self.sinks if self.sink is None else [self.sink]
