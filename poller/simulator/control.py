"""The simulator's own routes, under `/_simulator/`. The vendor's API has no such routes.

They require no credentials and have no faults.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from poller.simulator.answers import ApiError, SimulatedProblem, answer, read_json
from poller.simulator.config import OAUTH_PATH, Faults
from poller.simulator.gate import CONTROL_PREFIX, Controls
from poller.simulator.scenarios import parse_scenario
from poller.simulator.world import AlreadyEnded, World

_MAX_OPERATIONS: Final = 100_000
_MAX_WAIT: Final = 7 * 86400


class ControlApi:
    """Routes to inspect and control one simulator."""

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
            Route(f"{CONTROL_PREFIX}faults", self._set_faults, methods=["PUT"]),
            Route(f"{CONTROL_PREFIX}operations", self._send, methods=["POST"]),
            Route(f"{CONTROL_PREFIX}operations/{{id}}/cancel", self._cancel, methods=["POST"]),
            Route(f"{CONTROL_PREFIX}operations/{{id}}/truth", self._show_truth),
            Route(f"{CONTROL_PREFIX}inbound", self._receive, methods=["POST"]),
            Route(f"{CONTROL_PREFIX}tokens", self._revoke, methods=["DELETE"]),
            Route(OAUTH_PATH, self._give_token, methods=["POST"]),
        ]

    async def _give_token(self, request: Request) -> Response:
        """Issue an OAuth token for the client's credentials, as the vendor's service does."""
        form = {
            name: values[-1] for name, values in parse_qs((await request.body()).decode()).items()
        }
        config = self._controls.config
        expected = {
            "grant_type": "client_credentials",
            "client_id": config.oauth_client_id,
            "client_secret": config.oauth_client_secret,
        }
        if form != expected:
            return answer({"error": "invalid_client"}, status=401)
        tokens = self._controls.tokens
        return answer(
            {
                "access_token": tokens.give(self._monotonic()),
                "token_type": "Bearer",
                "expires_in": tokens.seconds,
            }
        )

    async def _revoke(self, _request: Request) -> Response:
        """Revoke all OAuth tokens."""
        self._controls.tokens.revoke()
        return answer({})

    async def _show_stats(self, _request: Request) -> Response:
        return answer(self._controls.stats.document(self._monotonic()))

    async def _reset_stats(self, request: Request) -> Response:
        self._controls.stats.reset()
        return await self._show_stats(request)

    async def _show_faults(self, _request: Request) -> Response:
        return answer(asdict(self._controls.faults))

    async def _set_faults(self, request: Request) -> Response:
        """Set the faults named in the body; others keep their values."""
        body = _members(await read_json(request), {each.name for each in fields(Faults)})
        try:
            self._controls.faults = replace(self._controls.faults, **body)
        except ValueError as error:
            raise ApiError(400, SimulatedProblem(f"{error}.")) from None
        return await self._show_faults(request)

    async def _send(self, request: Request) -> Response:
        """Create `count` sample operations, each with a number of `recipients`.

        `fate` is the name of a scenario or an object with its members; `group` is how many
        recipients share one message; `scheduled_in` is the delay of the sends, in seconds of the
        real clock.
        """
        known = {"count", "recipients", "fate", "kind", "tags", "group", "scheduled_in"}
        body = _members(await read_json(request), known)
        count = body.pop("count", 1)
        if not _is_number(count) or not 1 <= count <= _MAX_OPERATIONS:
            raise ApiError(
                400, SimulatedProblem(f"“count” is a number from 1 to {_MAX_OPERATIONS}.")
            )
        try:
            wanted = self._wanted(body)
            made = [self._world.send(**wanted).id for _ in range(count)]
        except ValueError as error:
            raise ApiError(400, SimulatedProblem(f"{error}.")) from None
        return answer({"operationIds": made})

    def _wanted(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a sample send."""
        group, tags = body.get("group"), body.get("tags", {})
        if not _is_number(recipients := body.get("recipients", 100)):
            raise ValueError("“recipients” is the number of recipients of each send")
        if group is not None and not _is_number(group):
            raise ValueError("“group” is how many recipients share one message")
        if not isinstance(tags, dict) or not all(isinstance(each, str) for each in tags.values()):
            raise ValueError("“tags” is an object whose values are text")
        return {
            "recipients": recipients,
            "fate": parse_scenario(body.get("fate", "ordinary")),
            "kind": str(body.get("kind", "messages")),
            "tags": tags,
            "group": group,
            "scheduled_for": self._in_seconds(body.get("scheduled_in")),
        }

    def _in_seconds(self, wait: object) -> datetime | None:
        if wait is None:
            return None
        if isinstance(wait, bool) or not isinstance(wait, int | float) or not 0 < wait <= _MAX_WAIT:
            raise ValueError(
                "“scheduled_in” is the delay of the sends in seconds, at most seven days"
            )
        return self._world.now() + timedelta(seconds=wait)

    async def _receive(self, request: Request) -> Response:
        """Receive the message `text` from the phone number `from`."""
        body = _members(await read_json(request), {"from", "text"})
        members = {{"from": "sender"}.get(name, name): str(value) for name, value in body.items()}
        return answer({"messageId": self._world.receive(**members)})

    async def _show_truth(self, request: Request) -> Response:
        operation_id = request.path_params["id"]
        try:
            return answer(self._world.expected(operation_id).document())
        except KeyError:
            raise _no_operation(operation_id) from None

    async def _cancel(self, request: Request) -> Response:
        operation_id = request.path_params["id"]
        try:
            operation = self._world.cancel(operation_id)
        except KeyError:
            raise _no_operation(operation_id) from None
        except AlreadyEnded:
            raise ApiError(
                409, SimulatedProblem("The operation has ended.", operation_id)
            ) from None
        return answer(operation.document(self._world.now()))


def _no_operation(operation_id: str) -> ApiError:
    return ApiError(404, SimulatedProblem("There is no such operation.", operation_id))


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _members(body: object, known: set[str]) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise ApiError(400, SimulatedProblem("The request body must be a JSON object."))
    for name in body.keys() - known:
        raise ApiError(
            400, SimulatedProblem(f"“{name}” is unknown; one of {', '.join(sorted(known))}.")
        )
    return body
