"""The query of a list: filters, page size, page token. Unknown parameters are ignored."""

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, Final, TypeVar

from starlette.datastructures import URL

from poller.simulator.answers import ApiError, SimulatedProblem
from poller.simulator.formats import WELL_FORMED, parse_instant
from poller.simulator.kinds import SimulatedKind

PageStart = tuple[int, int]
"""Where a page begins: the ordinal of an operation, and the index of a message in it."""

_Item = TypeVar("_Item")

_USUAL_SIZE: Final = 50
_MAX_SIZE: Final = 1000
_MESSAGE_STATUSES: Final = frozenset(
    "SCHEDULED QUEUED SENT DELIVERED READ OPENED UNDELIVERED FAILED CANCELED GROUP INBOUND".split()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Paging:
    """The requested page of a list; `start` is None for the first."""

    scope: str
    start: PageStart | None
    size: int

    def page(
        self, name: str, items: Iterable[tuple[PageStart, _Item]], *, show: Callable[[_Item], Any]
    ) -> dict[str, Any]:
        """Return the answer: the first items, and the tokens of this page and the next.

        Each of `items` is a pair of the page start at that item, and the item.
        """
        found = list(islice(items, self.size + 1))
        first = self.start or (found[0][0] if found else (0, 0))
        more = found[self.size][0] if len(found) > self.size else None
        return {
            name: [show(item) for _, item in found[: self.size]],
            "pagination": {
                "next": None if more is None else _token(self.scope, more),
                "self": _token(self.scope, first),
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedOperationQuery:
    """Which operations are requested; the bounds on their creation are inclusive."""

    start_date: datetime | None
    end_date: datetime | None
    status: str | None

    def covers(self, created: datetime) -> bool:
        """Return whether an operation created then is requested."""
        return (self.start_date is None or self.start_date <= created) and (
            self.end_date is None or created <= self.end_date
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageQuery(SimulatedOperationQuery):
    """Which messages are requested."""

    operation_id: str | None
    session_id: str | None
    profile: str | None
    channel: str | None
    tags: Mapping[str, str] = field(default_factory=dict)

    def tagged(self, tags: Mapping[str, str]) -> bool:
        """Return whether these tags include all requested ones."""
        return all(tags.get(key) == value for key, value in self.tags.items())


def read_paging(query: Mapping[str, str], *, scope: str) -> Paging:
    """Read `pageSize` and `pageToken`; a token belongs to the `scope` that made it.

    :raises ApiError: 400, naming the parameter.
    """
    text = query.get("pageSize", str(_USUAL_SIZE))
    size = (
        int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(_MAX_SIZE)) else 0
    )
    if not 1 <= size <= _MAX_SIZE:
        raise _refused("pageSize", f"must be a number from 1 to {_MAX_SIZE}")
    token = query.get("pageToken")
    return Paging(scope=scope, start=_cursor(scope, token) if token else None, size=size)


def read_operation_query(
    query: Mapping[str, str], *, kind: SimulatedKind
) -> SimulatedOperationQuery:
    """Read the filters of a list of operations.

    :raises ApiError: 400, naming the parameter.
    """
    return SimulatedOperationQuery(
        start_date=_instant(query, "startDate"),
        end_date=_instant(query, "endDate"),
        status=_status(query, kind.statuses),
    )


def read_message_query(query: Mapping[str, str]) -> MessageQuery:
    """Read the filters of a list of messages.

    :raises ApiError: 400, naming the parameter.
    """
    for name in ("operationId", "sessionId"):
        if name in query and not WELL_FORMED.fullmatch(query[name]):
            raise _refused(name, "is not an id")
    return MessageQuery(
        start_date=_instant(query, "startDate"),
        end_date=_instant(query, "endDate"),
        status=_status(query, _MESSAGE_STATUSES),
        operation_id=query.get("operationId"),
        session_id=query.get("sessionId"),
        profile=query.get("profile"),
        channel=query.get("channel"),
        tags=_tags(query.get("tags", "")),
    )


def paged(page: Mapping[str, Any], url: URL, shapes: tuple[str, ...]) -> dict[str, Any]:
    """Return a page of a list, requested at `url`, with its pagination in these shapes."""
    rest = {name: value for name, value in page.items() if name != "pagination"}
    tokens: Mapping[str, str | None] = page["pagination"]
    urls = {
        name: None if token is None else str(url.include_query_params(pageToken=token))
        for name, token in tokens.items()
    }
    if "page-urls" in shapes:
        return {**rest, "pagination": urls}
    if "page-tokens" in shapes:
        return {
            **rest,
            "pagination": {"nextPageToken": tokens["next"], "self": tokens["self"]},
        }
    if "meta-urls" in shapes:
        return {**rest, "meta": {"next_page_url": urls["next"]}}
    return dict(page)


def _instant(query: Mapping[str, str], name: str) -> datetime | None:
    if name not in query:
        return None
    try:
        return parse_instant(query[name])
    except ValueError:
        raise _refused(name, "must be an RFC 3339 time, such as 2026-11-22T09:30:00Z") from None


def _status(query: Mapping[str, str], known: frozenset[str]) -> str | None:
    status = query.get("status")
    if status is not None and status not in known:
        raise _refused("status", f"must be one of {', '.join(sorted(known))}")
    return status


def _tags(text: str) -> dict[str, str]:
    """Read `k:v;k:v;`."""
    pairs = [pair.partition(":") for pair in text.split(";") if pair]
    if not all(key and colon for key, colon, _ in pairs):
        raise _refused("tags", "must be written k:v;k:v;")
    return {key: value for key, _, value in pairs}


def _token(scope: str, cursor: PageStart) -> str:
    text = f"{scope}:{cursor[0]}:{cursor[1]}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _cursor(scope: str, token: str) -> PageStart:
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
        name, ordinal, index = text.split(":")
        cursor = int(ordinal), int(index)
    except (ValueError, binascii.Error):
        name, cursor = "", (-1, -1)
    if name != scope or min(cursor) < 0:
        raise _refused("pageToken", "is not a token of this list")
    return cursor


def _refused(name: str, fault: str) -> ApiError:
    return ApiError(400, SimulatedProblem(f"“{name}” {fault}.", name))
