"""What probes ask for, answered without the framework.

It takes a good part of a second to import, and many a daemon is asked for nothing else. The
framework describes these routes, in `health`.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final

import anyio
import structlog
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from poller.server.control import Control, Metrics, reply
from poller.server.documents import DegradedDocument, HealthDocument, ReadinessDocument
from poller.server.problems import problem_of, problem_response
from poller.server.views import show_degraded, show_loops
from poller.store.errors import StoreError

__all__ = ["Answer", "Probed", "Probes"]

log = structlog.get_logger()

Answer = Callable[[Headers], Awaitable[Response]]
"""Answers a request with these headers. Raises `StoreError` where it takes the store."""

# whoever asks often gets the same answer: it costs a write of the store
_GOOD_FOR: Final = 1.0


class Probes:
    """Answers probes: do the loops turn, can a registration be acknowledged, the metrics.

    Readiness is found out at most once a second.
    """

    def __init__(self, control: Control) -> None:
        self._control = control
        self._asking = anyio.Lock()
        self._known: ReadinessDocument | None = None
        self._asked_at = 0.0

    @property
    def routes(self) -> Mapping[str, Answer]:
        """What answers a GET, by its path; metrics only where there are some."""
        routes: dict[str, Answer] = {"/healthz": self._healthz, "/readyz": self._readyz}
        if self._control.metrics is not None:
            routes["/metrics"] = partial(_show, self._control.metrics)
        return routes

    async def _healthz(self, _headers: Headers) -> Response:
        loops = self._control.daemon.loops()
        health: HealthDocument = {
            "status": "hanging" if loops.silent else "ok",
            "version": self._control.version,
            "loops": show_loops(loops),
        }
        return reply(health, 503 if loops.silent else 200)

    async def _readyz(self, _headers: Headers) -> Response:
        async with self._asking:
            fresh = anyio.current_time() - self._asked_at < _GOOD_FOR
            if self._known is None or not fresh:
                self._known = await self._find_out()
                self._asked_at = anyio.current_time()
            found = self._known
        return reply(found, 503 if found["status"] == "unready" else 200)

    async def _find_out(self) -> ReadinessDocument:
        daemon = self._control.daemon
        loops = daemon.loops()
        degraded: list[DegradedDocument] = []
        reason = None
        try:
            await self._control.store.prove_writable()
            degraded = [show_degraded(found) for found in await daemon.degraded()]
        except StoreError as error:
            reason = str(error)
        if loops.silent:
            reason = f"these loops do not turn: {', '.join(sorted(loops.silent))}"
        if loops.stopping:
            reason = "the daemon stops"
        return {
            "status": "unready" if reason else "degraded" if degraded else "ready",
            "version": self._control.version,
            "reason": reason,
            "degraded": degraded,
        }


async def _show(metrics: Metrics, headers: Headers) -> Response:
    page, media_type = await metrics(", ".join(headers.getlist("accept")))
    return Response(page, headers={"Content-Type": media_type})


class Probed:
    """Lets `probes` answer what they have a route for, and `app` everything else."""

    def __init__(self, probes: Probes, app: ASGIApp) -> None:
        self._routes = probes.routes
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand the request on."""
        answer = self._routes.get(scope["path"])
        if answer is None or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        try:
            response = await answer(Headers(scope=scope))
        except StoreError as error:
            response = problem_response(problem_of(error))
        except Exception as error:
            log.exception("server.defect", method=scope["method"], path=scope["path"])
            response = problem_response(problem_of(error))
        await response(scope, receive, send)
