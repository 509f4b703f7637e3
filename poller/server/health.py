"""Health: do the loops turn, can a registration be acknowledged, what is in trouble."""

from typing import Final

import anyio
from fastapi import APIRouter, Request, Response

from poller.server import schemas
from poller.server.control import Control, Metrics, reply
from poller.server.described import answer, problems
from poller.server.views import show_degraded, show_loops
from poller.store.errors import StoreError

__all__ = ["Readiness", "health_routes"]

# whoever asks often gets the same answer: it costs a write of the store
_GOOD_FOR: Final = 1.0


class Readiness:
    """Says whether a registration could be acknowledged, at most once a second afresh."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._asking = anyio.Lock()
        self._known: schemas.Readiness | None = None
        self._asked_at = 0.0

    async def tell(self) -> schemas.Readiness:
        """Return what is known, if it is fresh; else find out."""
        async with self._asking:
            fresh = anyio.current_time() - self._asked_at < _GOOD_FOR
            if self._known is None or not fresh:
                self._known = await self._find_out()
                self._asked_at = anyio.current_time()
            return self._known

    async def _find_out(self) -> schemas.Readiness:
        daemon = self._control.daemon
        loops = daemon.loops()
        degraded: list[schemas.Degraded] = []
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


def health_routes(control: Control) -> APIRouter:
    """Make the three routes that probes ask for; they never want a token."""
    router = APIRouter(tags=["health"])
    readiness = Readiness(control)

    @router.get(
        "/healthz",
        response_model=schemas.Health,
        summary="Do the loops turn?",
        responses={
            **answer(200, "They do.", "healthy"),
            **answer(503, "One hangs: restart the daemon.", "hanging", model=schemas.Health),
            **problems(guarded=False),
        },
    )
    async def healthz() -> Response:
        loops = control.daemon.loops()
        health: schemas.Health = {
            "status": "hanging" if loops.silent else "ok",
            "version": control.version,
            "loops": show_loops(loops),
        }
        return reply(health, 503 if loops.silent else 200)

    @router.get(
        "/readyz",
        response_model=schemas.Readiness,
        summary="Can a registration be acknowledged?",
        description="Trouble with credentials, the API or a sink is listed and does not count.",
        responses={
            **answer(200, "It can.", "ready", "degraded"),
            **answer(503, "It cannot, for `reason`.", "unready", model=schemas.Readiness),
            **problems(guarded=False),
        },
    )
    async def readyz() -> Response:
        found = await readiness.tell()
        return reply(found, 503 if found["status"] == "unready" else 200)

    if control.metrics is not None:
        _add_metrics(router, control.metrics)
    return router


def _add_metrics(router: APIRouter, metrics: Metrics) -> None:
    @router.get(
        "/metrics",
        response_class=Response,
        summary="Metrics for Prometheus",
        responses={
            200: {
                "description": "OpenMetrics, or Prometheus' text format.",
                "content": {
                    kind: {"schema": {"type": "string"}}
                    for kind in ("text/plain", "application/openmetrics-text")
                },
            },
            **problems(guarded=False),
        },
    )
    async def show(request: Request) -> Response:
        page, media_type = await metrics(", ".join(request.headers.getlist("accept")))
        return Response(page, headers={"Content-Type": media_type})
