"""The application: the vendor's routes behind the gate, the simulator's own beside them."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from poller.simulator.api import KindApi, answer
from poller.simulator.config import SimulatorConfig
from poller.simulator.control import ControlApi
from poller.simulator.envelope import ApiError, SimulatedProblem
from poller.simulator.gate import Controls, SimulatedGate
from poller.simulator.world import Clock, World, utc_now

__all__ = ["create_app"]


def create_app(
    config: SimulatorConfig, *, clock: Clock = utc_now, world: World | None = None
) -> Starlette:
    """Make the ASGI application of a simulator.

    A `world` made before, to put sample operations into it, brings its own clock.
    """
    world = world or World(config, clock=clock)
    controls = Controls(config)
    routes = [route for kind in world.kinds.values() for route in KindApi(kind, world).routes()]
    app = Starlette(
        routes=[*routes, *ControlApi(controls, world).routes()],
        middleware=[Middleware(SimulatedGate, controls=controls)],
        exception_handlers={ApiError: _refuse, HTTPException: _refuse_unrouted},
    )
    # The vendor knows no second spelling of a path.
    app.router.redirect_slashes = False
    return app


async def _refuse(_request: Request, error: Exception) -> Response:
    if not isinstance(error, ApiError):
        raise error
    return answer(error.document(), status=error.status, headers=error.headers)


async def _refuse_unrouted(_request: Request, error: Exception) -> Response:
    """Answer an unknown path (404) or method (405) in the envelope, too."""
    if not isinstance(error, HTTPException):
        raise error
    refusal = ApiError(error.status_code, SimulatedProblem(f"{error.detail}."))
    return answer(refusal.document(), status=error.status_code, headers=dict(error.headers or {}))
