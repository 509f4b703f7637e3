"""The description of the control API: complete, with examples that are true."""

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from poller.server.examples import EXAMPLES
from tests.server.conftest import Build
from tests.server.served import ServedDaemon
from tests.store.scenes import op

pytestmark = pytest.mark.anyio

ROUTES = {
    ("/v1/operations", "post"),
    ("/v1/operations", "get"),
    ("/v1/summary", "get"),
    ("/v1/totals", "get"),
    ("/v1/operations/{operation_id}", "get"),
    ("/v1/operations/{operation_id}", "delete"),
    ("/v1/groups", "get"),
    ("/v1/groups/{name}", "get"),
    ("/v1/groups/{name}/seal", "post"),
    ("/v1/events", "get"),
    ("/v1/events/{event_id}/replay", "post"),
    ("/v1/sinks", "get"),
    ("/v1/dead-letters", "get"),
    ("/v1/dead-letters/replay", "post"),
    ("/healthz", "get"),
    ("/readyz", "get"),
    ("/metrics", "get"),
}


async def metrics(_accept: str | None) -> tuple[bytes, str]:
    """Give an empty page of metrics."""
    return b"# EOF\n", "text/plain; version=0.0.4"


@pytest.fixture
async def document(build: Build) -> Any:  # noqa: ANN401 - any JSON
    """Return the description as it is served."""
    async with build(metrics=metrics, token="t") as server:
        return await server.get("/openapi.json")


def validator(document: Any, schema: Any) -> Draft202012Validator:  # noqa: ANN401 - any JSON
    """Validate against a schema of the description, formats included."""
    resource = DRAFT202012.create_resource(document)
    registry: Registry[Any] = Registry().with_resource("urn:api", resource)
    absolute = _absolute(schema)
    checker = Draft202012Validator.FORMAT_CHECKER
    return Draft202012Validator(absolute, registry=registry, format_checker=checker)


def _absolute(schema: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(schema, dict):
        return {
            name: f"urn:api{value}" if name == "$ref" else _absolute(value)
            for name, value in schema.items()
        }
    return [_absolute(item) for item in schema] if isinstance(schema, list) else schema


def _resolved(document: Any, example: Any) -> Any:  # noqa: ANN401 - any JSON
    name = example.get("$ref", "").rpartition("/")[2]
    return (document["components"]["examples"][name] if name else example)["value"]


def operations(document: Any) -> Iterator[tuple[str, str, Any]]:  # noqa: ANN401 - any JSON
    """List path, method and description of each route."""
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            yield path, method, described


async def test_every_route_is_described(document: Any) -> None:  # noqa: ANN401 - any JSON
    """With a summary, its answers and at least one example of each kind of answer."""
    found = {(path, method): described for path, method, described in operations(document)}
    assert found.keys() == ROUTES
    for (path, _), described in found.items():
        assert described["summary"]
        assert "500" in described["responses"]
        for status, response in described["responses"].items():
            if status == "204" or path == "/metrics":
                continue
            for content in response["content"].values():
                assert content["schema"]
                shown = content.keys() & {"example", "examples"}
                assert shown, (path, status)


async def test_every_example_is_true(document: Any) -> None:  # noqa: ANN401 - any JSON
    """Each example of a body or an answer validates against the schema beside it."""
    number = 0
    for _, _, described in operations(document):
        contents = list(described.get("requestBody", {}).get("content", {}).values())
        for response in described["responses"].values():
            contents += response.get("content", {}).values()
        for content in contents:
            shown = [_resolved(document, one) for one in content.get("examples", {}).values()]
            shown += [content["example"]] if "example" in content else []
            for example in shown:
                validator(document, content["schema"]).validate(example)
                number += 1
    assert number > 30


async def test_what_is_answered_is_as_described(document: Any, server: ServedDaemon) -> None:  # noqa: ANN401
    """A story with everything in it, beside the example that stands for it."""
    await server.scene.run_through(op(1))
    story = await server.get(f"/v1/operations/{op(1)}")
    schema = {"$ref": "#/components/schemas/OperationStory"}
    validator(document, schema).validate(story)
    assert story.keys() == EXAMPLES["story"].keys()
    with pytest.raises(jsonschema.ValidationError):
        validator(document, schema).validate({**story, "phase": "odd"})


async def test_the_token_is_described(document: Any, server: ServedDaemon) -> None:  # noqa: ANN401
    """As a bearer scheme for all but the health routes; without a token there is no scheme."""
    assert document["security"] == [{"bearer": []}]
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    for path, _, described in operations(document):
        is_health = path in {"/healthz", "/readyz", "/metrics"}
        assert (described.get("security") == []) is is_health
    open_document = await server.get("/openapi.json")
    assert "security" not in open_document
    assert "/metrics" not in open_document["paths"]
