"""The health routes: whether the loops run, whether it is ready, and the metrics."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from poller.server.control import Control, DocumentResponse, InControl, Metrics
from poller.server.documents import DegradedDocument, HealthDocument, ReadinessDocument
from poller.server.openapi import problems
from poller.server.refresh import Refreshed
from poller.server.views import show_degraded, show_loops
from poller.store.errors import StoreError

router = APIRouter(tags=["health"])

# each check writes to the store, and probes may be frequent
_FRESH_SECONDS = 1.0
_SILENT_SECONDS = 3.0


class Readiness:
    """Whether a registration can be acknowledged; it is checked at most once a second.

    Answers within a second even if the database does not: a store that does not answer for longer
    makes the daemon "unready".
    """

    def __init__(self, control: Control) -> None:
        self._control = control
        self._store_state = Refreshed(self._ask_store, seconds=_FRESH_SECONDS)

    async def document(self) -> ReadinessDocument:
        """Return the readiness, not older than a second if the store answers in time."""
        loops = self._control.daemon.loops()
        known = await self._store_state.get()
        reason, degraded = known or ("the store has not answered yet", [])
        if (overdue := self._store_state.overdue) > _SILENT_SECONDS:
            reason = f"the store has not answered for {overdue:.0f} s"
        if loops.silent:
            reason = f"these loops do not run: {', '.join(sorted(loops.silent))}"
        if loops.stopping:
            reason = "the daemon is stopping"
        return {
            "status": "unready" if reason else "degraded" if degraded else "ready",
            "version": self._control.version,
            "reason": reason,
            "degraded": degraded,
        }

    async def _ask_store(self) -> tuple[str | None, list[DegradedDocument]]:
        """Return why the store cannot be written, and what is degraded."""
        daemon = self._control.daemon
        try:
            await daemon.prove_writable()
            return None, [show_degraded(found) for found in await daemon.degraded()]
        except StoreError as error:
            return str(error), []


async def _readiness(request: Request) -> Readiness:
    readiness: Readiness = request.app.state.readiness
    return readiness


@router.get(
    "/healthz",
    response_model=HealthDocument,
    summary="Do the loops run?",
    responses={
        200: {"description": "They do."},
        503: {"description": "One hangs: restart the daemon.", "model": HealthDocument},
        **problems(is_open=True),
    },
)
async def healthz(control: InControl) -> Response:
    """Show when each loop of the daemon last ran."""
    loops = control.daemon.loops()
    health: HealthDocument = {
        "status": "hanging" if loops.silent else "ok",
        "version": control.version,
        "loops": show_loops(loops),
    }
    return DocumentResponse(health, 503 if loops.silent else 200)


@router.get(
    "/readyz",
    response_model=ReadinessDocument,
    summary="Can a registration be acknowledged?",
    responses={
        200: {"description": "It can."},
        503: {"description": "It cannot, for `reason`.", "model": ReadinessDocument},
        **problems(is_open=True),
    },
)
async def readyz(readiness: Annotated[Readiness, Depends(_readiness)]) -> Response:
    """Trouble with credentials, the API or a sink is listed; the daemon stays ready."""
    found = await readiness.document()
    return DocumentResponse(found, 503 if found["status"] == "unready" else 200)


def metrics_router(render: Metrics) -> APIRouter:
    """Make the route of the metrics page, which `render` returns."""
    router = APIRouter(tags=["health"])
    page = {
        "description": "OpenMetrics, or Prometheus' text format.",
        "content": {
            kind: {"schema": {"type": "string"}}
            for kind in ("text/plain", "application/openmetrics-text")
        },
    }

    @router.get(
        "/metrics",
        response_class=Response,
        summary="Metrics for Prometheus",
        responses={200: page, **problems(is_open=True)},
    )
    async def show(request: Request) -> Response:
        text, media_type = await render(", ".join(request.headers.getlist("accept")))
        return Response(text, headers={"Content-Type": media_type})

    return router
