"""The vendor's routes for one kind of operation, answered from the simulated world."""

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from poller.simulator.answers import ApiError, SimulatedProblem, answer, read_json
from poller.simulator.formats import WELL_FORMED
from poller.simulator.kinds import SimulatedKind
from poller.simulator.messages import ORDINAL, InboxView, MessageView
from poller.simulator.operations import SimulatedOperation, read_send
from poller.simulator.queries import (
    MessageQuery,
    PageStart,
    Paging,
    paged,
    read_message_query,
    read_operation_query,
    read_paging,
)
from poller.simulator.world import World

_Found = TypeVar("_Found")
_View = MessageView | InboxView


class KindApi:
    """The routes of one kind."""

    def __init__(self, kind: SimulatedKind, world: World) -> None:
        self._kind = kind
        self._world = world

    def routes(self) -> list[Route]:
        """Return the routes; sender pools list no messages."""
        root = f"/v1/{self._kind.path}"
        routes = [
            Route(root, self._send, methods=["POST"]),
            Route(f"{root}/Operations", self._list_operations),
            Route(f"{root}/Operations/{{id}}", self._fetch_operation),
            Route(f"{root}/Operations/{{id}}/Errors", self._list_errors),
        ]
        if self._kind.items is not None:
            routes += [
                Route(root, self._list_messages),
                Route(f"{root}/{{id}}", self._fetch_message),
                Route(f"{root}/{{id}}/Receipts", self._list_receipts),
            ]
        return routes

    async def _send(self, request: Request) -> Response:
        usual = self._world.config.fate
        send = read_send(await read_json(request), kind=self._kind, usual_fate=usual)
        operation = self._world.accept(send)
        location = f"{_base_url(request)}/{self._kind.path}/Operations/{operation.id}"
        return answer(
            {"operationId": operation.id, "operationLocation": location},
            status=HTTPStatus.ACCEPTED,
            headers={
                "operationId": operation.id,
                "operation-id": operation.id,
                "operation-location": location,
            },
        )

    async def _list_operations(self, request: Request) -> Response:
        query = read_operation_query(request.query_params, kind=self._kind)
        paging = read_paging(request.query_params, scope=f"{self._kind.name}/operations")
        now = self._world.now()

        def found() -> Iterator[tuple[PageStart, SimulatedOperation]]:
            start = paging.start and paging.start[0]
            for operation in self._world.newest_first(self._kind.name, start=start):
                if query.covers(operation.created) and (
                    query.status is None or operation.status(now) == query.status
                ):
                    yield (operation.ordinal, 0), operation

        return self._page(
            request, paging.page("operations", found(), show=lambda each: each.document(now))
        )

    def _page(self, request: Request, page: Mapping[str, Any]) -> Response:
        return answer(paged(page, request.url, self._world.config.shapes))

    async def _fetch_operation(self, request: Request) -> Response:
        return answer(self._operation(request).document(self._world.now()))

    async def _list_errors(self, request: Request) -> Response:
        view = self._view(self._operation(request), request)
        paging = read_paging(request.query_params, scope=f"{self._kind.name}/errors")
        first = paging.start[1] if paging.start else 0
        errors = (
            ((0, index), error)
            for index in range(first, view.total)
            if (error := view.error(index)) is not None
        )
        return self._page(request, paging.page("errors", errors, show=lambda error: error))

    async def _list_messages(self, request: Request) -> Response:
        query = read_message_query(request.query_params)
        paging = read_paging(request.query_params, scope=str(self._kind.items))
        found = self._messages(query, paging, request)
        return self._page(
            request,
            paging.page(str(self._kind.items), found, show=lambda each: each[0].metadata(each[1])),
        )

    async def _fetch_message(self, request: Request) -> Response:
        view, index = self._message(request)
        return answer(view.document(index))

    async def _list_receipts(self, request: Request) -> Response:
        view, index = self._message(request)
        paging = read_paging(request.query_params, scope=f"{self._kind.name}/receipts")
        first = paging.start[1] if paging.start else 0
        receipts = (((0, each), each) for each in range(first, view.recipients(index)))
        return self._page(
            request,
            paging.page("receipts", receipts, show=lambda number: view.receipt(index, number)),
        )

    def _messages(
        self, query: MessageQuery, paging: Paging, request: Request
    ) -> Iterator[tuple[PageStart, tuple[_View, int]]]:
        """Yield the messages that match the query, from the start of the page."""
        if query.profile is not None:
            return  # no message of the simulator is addressed to a profile
        ordinal, first = paging.start or (None, 0)
        for operation in self._candidates(query, ordinal):
            if not query.covers(operation.created) or not query.tagged(operation.send.tags):
                continue
            view = self._view(operation, request)
            for index in range(first if operation.ordinal == ordinal else 0, view.total):
                if _matches(view, index, query):
                    yield (operation.ordinal, index), (view, index)
        inbox = self._inbox(request)
        if inbox is None or query.operation_id is not None or query.tags:
            return
        for index in range(first if ordinal == ORDINAL else 0, inbox.total):
            if query.covers(inbox.received(index)) and _matches(inbox, index, query):
                yield (ORDINAL, index), (inbox, index)

    def _candidates(self, query: MessageQuery, ordinal: int | None) -> Iterator[SimulatedOperation]:
        if query.operation_id is None:
            yield from self._world.newest_first(self._kind.name, start=ordinal)
        elif operation := self._world.find(self._kind.name, query.operation_id):
            yield operation

    def _operation(self, request: Request) -> SimulatedOperation:
        operation_id = _id_of(request)
        return _known(self._world.find(self._kind.name, operation_id), operation_id)

    def _message(self, request: Request) -> tuple[_View, int]:
        message_id = _id_of(request)
        inbox = self._inbox(request)
        if inbox is not None and (place := inbox.inbox.find(message_id)) is not None:
            return _known(inbox if inbox.exists(place) else None, message_id), place
        found = self._world.find_message(self._kind.name, message_id)
        operation, index = _known(found, message_id)
        view = self._view(operation, request)
        return _known(view if view.exists(index) else None, message_id), index

    def _inbox(self, request: Request) -> InboxView | None:
        inbox = self._world.inbox(self._kind.name)
        if inbox is None:
            return None
        return InboxView(inbox, self._world.now(), _base_url(request))

    def _view(self, operation: SimulatedOperation, request: Request) -> MessageView:
        return MessageView.of(
            operation,
            seed=self._world.config.seed,
            now=self._world.now(),
            base_url=_base_url(request),
        )


def _matches(view: _View, index: int, query: MessageQuery) -> bool:
    return (
        view.exists(index)
        and (query.status is None or view.status(index) == query.status)
        and (query.channel is None or view.channel(index) == query.channel)
        and (query.session_id is None or view.session_of(index) == query.session_id)
    )


def _base_url(request: Request) -> str:
    """Return the base URL that the client used, including the version."""
    return f"{request.base_url}v1"


def _id_of(request: Request) -> str:
    value: Any = request.path_params["id"]
    if not WELL_FORMED.fullmatch(value):
        raise ApiError(400, SimulatedProblem("This is not an id.", str(value)[:100]))
    return str(value)


def _known(found: _Found | None, name: str) -> _Found:
    if found is None:
        raise ApiError(404, SimulatedProblem("The requested resource was not found.", name))
    return found
