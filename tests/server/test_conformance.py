"""Requests of every shape, made from the description: no 500, nothing undeclared, nothing odd."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import requests
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, Phase, assume, given, settings

from tests.examples import times
from tests.server.served import ServedDaemon, serve_daemon
from tests.store.scenes import op

if TYPE_CHECKING:
    import schemathesis

VALID, INVALID = "positive", "negative"
# not the event stream: it does not end; its parameters are tested beside its events
SHAPES = [
    ("POST", "/v1/operations", VALID),
    ("POST", "/v1/operations", INVALID),
    ("GET", "/v1/operations", VALID),
    ("GET", "/v1/operations", INVALID),
    ("GET", "/v1/operations/{operation_id}", VALID),
    ("GET", "/v1/operations/{operation_id}", INVALID),
    ("DELETE", "/v1/operations/{operation_id}", VALID),
    ("GET", "/v1/totals", VALID),
    ("GET", "/v1/totals", INVALID),
    ("GET", "/v1/groups", VALID),
    ("GET", "/v1/groups", INVALID),
    ("GET", "/v1/groups/{name}", VALID),
    ("POST", "/v1/groups/{name}/seal", VALID),
    ("POST", "/v1/groups/{name}/seal", INVALID),
    ("POST", "/v1/events/{event_id}/replay", VALID),
    ("POST", "/v1/events/{event_id}/replay", INVALID),
    ("GET", "/v1/dead-letters", VALID),
    ("GET", "/v1/dead-letters", INVALID),
    ("GET", "/v1/sinks", VALID),
    ("GET", "/healthz", VALID),
    ("GET", "/readyz", VALID),
]
QUICK = settings(
    max_examples=times(0.25),
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def lived_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedDaemon]:
    """Open a daemon in a thread of its own, with something in it."""
    directory = tmp_path_factory.mktemp("conformance")
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(serve_daemon(directory, loops=True)) as server,
    ):
        portal.call(server.scene.run_through, op(1))
        portal.call(server.scene.register, "comms_message_01h9krwprkeee8fzqspvwy6nq8")
        yield server


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    """Keep one connection."""
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture(scope="module")
def described(lived_in: ServedDaemon) -> "schemathesis.BaseSchema":
    """Load the description from where it is served."""
    import schemathesis  # noqa: PLC0415 - slow, and every worker imports this module

    return schemathesis.openapi.from_url(f"{lived_in.bound.address}/openapi.json")


@pytest.mark.hypothesis
@pytest.mark.parametrize(("method", "path", "mode"), SHAPES, ids=str)
def test_nothing_surprises(
    described: "schemathesis.BaseSchema",
    session: requests.Session,
    method: str,
    path: str,
    mode: str,
) -> None:
    """Whatever is asked, the answer is one that is described."""
    from schemathesis import GenerationMode  # noqa: PLC0415 - as above

    operation = described[path][method]

    @QUICK
    @given(case=operation.as_strategy(generation_mode=GenerationMode(mode)))
    def ask(case: "schemathesis.Case[Any]") -> None:
        # which undocumented statuses are known depends on the store, which no description can say
        asked = (case.query or {}).get("status") or []
        assume(mode is not VALID or {*asked} <= {"COMPLETED", "PROCESSING"})
        # nor can one say that two moments must come in order
        assume(mode is not VALID or not {"since", "until"} <= {*(case.query or ())})
        # nor that a cursor goes with the order of the page it came from
        has_orders = path == "/v1/operations" and "cursor" in (case.query or ())
        assume(mode is not VALID or not has_orders)
        case.call_and_validate(session=session)

    ask()
