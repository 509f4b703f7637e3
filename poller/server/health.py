"""The health routes as the framework describes them; `probes` answers them."""

from fastapi import APIRouter, Request, Response

from poller.server.described import answer, problems
from poller.server.documents import HealthDocument, ReadinessDocument
from poller.server.probes import Answer, Probes

__all__ = ["health_routes"]


def health_routes(probes: Probes) -> APIRouter:
    """Make the three routes that probes ask for; they never want a token."""
    router = APIRouter(tags=["health"])
    routes = probes.routes

    @router.get(
        "/healthz",
        response_model=HealthDocument,
        summary="Do the loops turn?",
        responses={
            **answer(200, "They do.", "healthy"),
            **answer(503, "One hangs: restart the daemon.", "hanging", model=HealthDocument),
            **problems(guarded=False),
        },
    )
    async def healthz(request: Request) -> Response:
        return await routes["/healthz"](request.headers)

    @router.get(
        "/readyz",
        response_model=ReadinessDocument,
        summary="Can a registration be acknowledged?",
        description="Trouble with credentials, the API or a sink is listed and does not count.",
        responses={
            **answer(200, "It can.", "ready", "degraded"),
            **answer(503, "It cannot, for `reason`.", "unready", model=ReadinessDocument),
            **problems(guarded=False),
        },
    )
    async def readyz(request: Request) -> Response:
        return await routes["/readyz"](request.headers)

    if "/metrics" in routes:
        _add_metrics(router, routes["/metrics"])
    return router


def _add_metrics(router: APIRouter, metrics: Answer) -> None:
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
        return await metrics(request.headers)
