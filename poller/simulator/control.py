"""The simulator's own routes, under `/_simulator/`: the vendor has nothing like them.

They ask for no credentials and meet no fault.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from poller.simulator.api import answer, read_json
from poller.simulator.config import Faults
from poller.simulator.envelope import ApiError, Problem
from poller.simulator.gate import CONTROL_PREFIX, Controls
from poller.simulator.world import AlreadyEnded, World

__all__ = ["ControlApi"]

_MAX_OPERATIONS: Final = 100_000


class ControlApi:
    """Inspection and control of one simulator."""

    def __init__(
        self, controls: Controls, world: World, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._controls = controls
        self._world = world
        self._monotonic = monotonic

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(f"{CONTROL_PREFIX}stats", self._show_stats),
            Route(f"{CONTROL_PREFIX}stats", self._reset_stats, methods=["DELETE"]),
            Route(f"{CONTROL_PREFIX}faults", self._show_faults),
            Route(f"{CONTROL_PREFIX}faults", self._turn_faults, methods=["PUT"]),
            Route(f"{CONTROL_PREFIX}operations", self._send, methods=["POST"]),
            Route(f"{CONTROL_PREFIX}operations/{{id}}/cancel", self._cancel, methods=["POST"]),
        ]

    async def _show_stats(self, _request: Request) -> Response:
        return answer(self._controls.stats.document(self._monotonic()))

    async def _reset_stats(self, request: Request) -> Response:
        self._controls.stats.reset()
        return await self._show_stats(request)

    async def _show_faults(self, _request: Request) -> Response:
        return answer(asdict(self._controls.faults))

    async def _turn_faults(self, request: Request) -> Response:
        """Turn the faults named in the body; the others stay."""
        body = _members(await read_json(request), {each.name for each in fields(Faults)})
        try:
            self._controls.faults = replace(self._controls.faults, **body)
        except ValueError as error:
            raise ApiError(400, Problem(f"{error}.")) from None
        return await self._show_faults(request)

    async def _send(self, request: Request) -> Response:
        """Create `count` sample operations at once, each for a number of `recipients`."""
        body = _members(await read_json(request), {"count", "recipients", "fate", "kind"})
        count = body.pop("count", 1)
        if not _is_number(count) or not 1 <= count <= _MAX_OPERATIONS:
            raise ApiError(400, Problem(f"“count” is a number from 1 to {_MAX_OPERATIONS}."))
        if not _is_number(body.setdefault("recipients", 100)):
            raise ApiError(400, Problem("“recipients” is how many each send has."))
        wanted: dict[str, Any] = {
            name: value if name == "recipients" else str(value) for name, value in body.items()
        }
        try:
            made = [self._world.send(**wanted).id for _ in range(count)]
        except ValueError as error:
            raise ApiError(400, Problem(f"{error}.")) from None
        return answer({"operationIds": made})

    async def _cancel(self, request: Request) -> Response:
        operation_id = request.path_params["id"]
        try:
            operation = self._world.cancel(operation_id)
        except KeyError:
            raise ApiError(404, Problem("There is no such operation.", operation_id)) from None
        except AlreadyEnded:
            raise ApiError(409, Problem("The operation has ended.", operation_id)) from None
        return answer(operation.document(self._world.now()))


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _members(body: object, known: set[str]) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise ApiError(400, Problem("The request body must be a JSON object."))
    for name in body.keys() - known:
        raise ApiError(400, Problem(f"“{name}” is unknown; one of {', '.join(sorted(known))}."))
    return body
