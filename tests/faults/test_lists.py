"""Lists that are broken, hold nonsense, or do not show what is watched: they only cost requests."""

from typing import Any

import pytest

from tests.fakes.api import Reply, envelope, operation_id
from tests.faults.stage import ODD, WELL, Stage, campaign, of
from tests.oracle import check_promises

pytestmark = pytest.mark.anyio


def page(*items: Any, token: str | None = None) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """Answer one page of operations."""
    return {"operations": list(items), "pagination": {"next": token}}


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Reply(status=404, body=envelope(20404, "no such list")), id="not-found"),
        pytest.param(Reply(body=b"<html>", headers={"content-type": "text/html"}), id="html"),
        pytest.param(Reply(body={"operations": {}}), id="no-list"),
        pytest.param(Reply(body=page(), cut=True), id="truncated"),
    ],
)
async def test_a_broken_list(stage: Stage, answer: Reply) -> None:
    """It is given up for a while, and everything is fetched one by one."""
    stage.api.lists = answer
    events = await stage.play(campaign(ODD), sweep=True)
    assert [int(event["sequence"]) for event in events] == [1, 2, 3, 4]


async def test_nonsense_in_a_list(stage: Stage) -> None:
    """One bad item spoils neither the others on its page nor its own operation."""
    bad = {**campaign(ODD)[3], "stats": None}
    stage.api.lists = Reply(body=page(bad, campaign(WELL)[3], "not even an object"))
    events = await stage.play(campaign(ODD), sweep=True)
    assert events[-1]["type"] == "operation.completed"
    assert stage.api.count(WELL) == 0


async def test_a_list_without_us(stage: Stage) -> None:
    """Absence from a list means nothing: what it does not show is fetched."""
    stage.api.lists = Reply(body=page(campaign(operation_id(9))[3]))
    stage.script(ODD, campaign(ODD))
    async with stage.running(sweep=True) as show:
        await show.until(show.has_ended)
    check_promises(show.events)
    assert {event["subject"] for event in show.events} == {ODD, WELL}
    assert of(ODD, show.events)[-1]["type"] == "operation.completed"
