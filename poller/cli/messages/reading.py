"""Reads the messages of an operation and its errors, in the form in which they are shown."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from poller.comms.caller import ApiCaller
from poller.comms.client import CommsClient
from poller.comms.errors import CommsError, DeadlineExceeded, NotFound, Scope
from poller.comms.kinds import KINDS, KindSpec
from poller.comms.models import Operation
from poller.text import parse_instant
from poller.tracking.breakdown import steps as breakdown
from poller.tracking.breakdown.state import Breakdown
from poller.tracking.privacy import Addresses, channel_of, public_code, public_name, shown_addresses

# The vendor allows 10,000 recipients, which are ten pages.
_MAX_PAGES: Final = 50

Code = int | str | None
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRow:
    """One message as it is shown; `to` is empty unless the settings ask for addresses."""

    id: str
    status: str
    channel: str | None
    code: Code
    updated_at: str | None
    to: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """Return the JSON document."""
        shown = {
            "id": self.id,
            "status": self.status,
            "channel": self.channel,
            "code": self.code,
            "updatedAt": self.updated_at,
        }
        return {**shown, "to": list(self.to)} if self.to else shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """The breakdown, in the shape of the event `operation.breakdown`, and the messages."""

    breakdown: Mapping[str, Any]
    rows: Sequence[MessageRow]


class Reader:
    """Reads one operation, one request at a time; `say` reports waits, and what cannot be read."""

    def __init__(
        self,
        caller: ApiCaller,
        kind: KindSpec,
        operation_id: str,
        *,
        addresses: Addresses,
        say: Callable[[str], None],
    ) -> None:
        self._kind = kind
        self._operation_id = operation_id
        self._caller = caller
        self._addresses = addresses
        self._say = say
        self._rows: dict[str, MessageRow] = {}
        self._codes: dict[str, Code] = {}

    async def operation(self) -> Operation:
        """Fetch the operation.

        :raises CommsError: where the API does not return it.
        """
        return await self._call(
            lambda client: client.fetch_operation(self._kind, self._operation_id)
        )

    async def failed(self) -> Findings:
        """Read the errors, and the messages with a status that means failure.

        :raises CommsError: where the API does not answer. Parts that it refuses permanently are
            left out, and reported.
        """
        statuses = self._kind.failed_statuses if self._kind.items else ()
        return self._findings(breakdown.report(await self._explain(statuses)))

    async def everything(self) -> Findings:
        """Read the errors and all messages.

        :raises CommsError: as for `failed`.
        """
        found = breakdown.report(await self._explain(()))
        if self._kind.items and not await self._read_all():
            found["missing"] = [*found["missing"], "messages"]
            found["complete"] = False
        counts = Counter((row.status, row.channel) for row in self._rows.values())
        ranked = sorted(counts.items(), key=lambda one: (one[0][0], -one[1], one[0][1] or ""))
        found["messages"] = [
            {"status": status, "channel": channel, "count": count}
            for (status, channel), count in ranked
        ]
        return self._findings(found)

    def _findings(self, found: Mapping[str, Any]) -> Findings:
        rows = [replace(row, code=self._codes.get(row.id)) for row in self._rows.values()]
        return Findings(breakdown=found, rows=rows)

    async def _explain(self, statuses: Sequence[str]) -> Breakdown:
        state = breakdown.begin(statuses=statuses)
        while (wanted := breakdown.request(state)) is not None:
            try:
                state = await self._step(state, wanted)
            except CommsError as error:
                if not _is_refused(error):
                    raise
                self._say(describe(error))
                state = breakdown.after_refusal(state)
        for cause in state.causes:
            for sample in cause.samples:
                self._codes.setdefault(sample.id, cause.code)
        return state

    async def _step(self, state: Breakdown, wanted: breakdown.Request) -> Breakdown:
        match wanted:
            case breakdown.ReadErrors(token=token):
                errors = await self._call(
                    lambda client: client.list_errors(
                        self._kind, self._operation_id, page_token=token
                    )
                )
                self._learn_codes(errors.errors)
                return breakdown.after_errors(state, errors.errors, errors.next_token)
            case breakdown.ReadMessages(status=status, token=token):
                raw, next_token = await self._page(status, token)
                self._keep(one for one in raw if one.get("status") == status)
                return breakdown.after_messages(state, raw, next_token, self._addresses)
            case breakdown.ReadMessage(message_id=message_id):
                message = await self._call(lambda client: client.fetch_message(message_id))
                return breakdown.after_message(state, message.raw, self._addresses)

    async def _read_all(self) -> bool:
        """Read the list of all messages; returns whether it was read to its end."""
        token: str | None = None
        seen: set[str] = set()
        for _ in range(_MAX_PAGES):
            try:
                raw, token = await self._page(None, token)
            except CommsError as error:
                if not _is_refused(error):
                    raise
                self._say(describe(error))
                return False
            self._keep(raw)
            if token is None:
                return True
            if token in seen:
                break
            seen.add(token)
        self._say(f"the list of {self._kind.name} does not end; only a part of it is shown")
        return False

    async def _page(
        self, status: str | None, token: str | None
    ) -> tuple[list[Mapping[str, Any]], str | None]:
        page = await self._call(
            lambda client: client.list_messages(
                self._kind, operation_id=self._operation_id, status=status, page_token=token
            )
        )
        return [message.raw for message in page.messages], page.next_token

    async def _call(self, request: Callable[[CommsClient], Awaitable[Result]]) -> Result:
        def waiting(error: CommsError, seconds: float) -> None:
            self._say(f"{error.action}: {error.answered}; retrying in {seconds:.3g} s")

        return await self._caller.call(request, kind=self._kind.name, waiting=waiting)

    def _learn_codes(self, errors: Iterable[Mapping[str, Any]]) -> None:
        """Remember the error code of each message; of several the first."""
        for error in errors:
            context = error.get("context")
            if isinstance(context, str):
                self._codes.setdefault(context.strip(), public_code(error.get("code")))

    def _keep(self, messages: Iterable[Mapping[str, Any]]) -> None:
        for raw in messages:
            row = _row_of(raw, self._addresses)
            if row is not None:
                self._rows[row.id] = row


def describe(error: CommsError) -> str:
    """Return what happened and what to do; the error's own hints are meant for a daemon's log."""
    return f"{error.action}: {error.answered}; {_fix(error)}"


def _fix(error: CommsError) -> str:
    match error.scope:
        case Scope.CREDENTIALS:
            fix = "check the credentials; `poller check` shows which are used"
        case Scope.REQUEST if isinstance(error, NotFound):
            kinds = ", ".join(KINDS)
            fix = (
                f"check its kind (--kind: {kinds}), its account, and that it is not over 7 days old"
            )
        case Scope.KIND | Scope.REQUEST:
            fix = error.hint
        case Scope.ACCOUNT:
            wait = "a minute" if error.retry_after is None else f"{error.retry_after:.0f} s"
            fix = f"try again in {wait}; the account sends too many requests, or the API is busy"
        case Scope.CONNECTION if isinstance(error, DeadlineExceeded):
            fix = "check the network path to the API, or raise api.timeout"
        case Scope.CONNECTION:
            fix = error.own_hint or "check api.base_url and the network path"
        case _:
            fix = error.own_hint or "try again later; if it persists, check api.base_url"
    return fix


def _is_refused(error: CommsError) -> bool:
    """Whether this part cannot be read, but others may."""
    return not error.retryable and error.scope is not Scope.CREDENTIALS


def _row_of(raw: Mapping[str, Any], addresses: Addresses) -> MessageRow | None:
    message_id, status = public_name(raw.get("id")), public_name(raw.get("status"))
    if message_id is None or status is None:
        return None
    updated_at = raw.get("updatedAt")
    return MessageRow(
        id=message_id,
        status=status,
        channel=channel_of(raw),
        code=None,
        updated_at=updated_at if parse_instant(updated_at) else None,
        to=tuple(shown_addresses(raw, addresses)),
    )
