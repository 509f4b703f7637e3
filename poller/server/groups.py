"""The routes of groups: list, show, seal. Operations join a group when they are registered."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response

from poller.server.bodies import JsonBody, Seal
from poller.server.control import DocumentResponse, InControl
from poller.server.documents import GroupDocument, GroupsDocument, GroupStoryDocument
from poller.server.openapi import problems
from poller.server.problems import (
    CONFLICT,
    INVALID,
    NOT_JSON,
    SLOW_BODY,
    TOO_LARGE,
    UNKNOWN_GROUP,
    UNREADABLE,
    Problem,
)
from poller.server.queries import KNOWN_PARAMETERS, DetailQuery, GroupName, GroupQuery
from poller.server.views import show_group, show_group_detail
from poller.store.group_reports import GroupFilter, GroupState
from poller.store.groups import UnknownGroup
from poller.tracking.registration import Conflict

router = APIRouter(tags=["groups"], dependencies=[KNOWN_PARAMETERS])

_Name = Annotated[GroupName, Path(description="The name of a group.")]


@router.get(
    "/v1/groups",
    response_model=GroupsDocument,
    summary="List groups",
    responses={200: {"description": "A page, the latest first."}, **problems(INVALID)},
)
async def list_groups(control: InControl, query: Annotated[GroupQuery, Query()]) -> Response:
    """Of several values of one parameter any may match; `next` is the cursor of the next page."""
    wanted = GroupFilter(states=[GroupState(one) for one in query.state], search=query.search)
    page = await control.store.groups.list(wanted, limit=query.limit, before=query.cursor)
    shown = [show_group(group, control.store.now()) for group in page.groups]
    return DocumentResponse({"groups": shown, "next": page.next_before})


@router.get(
    "/v1/groups/{name}",
    response_model=GroupStoryDocument,
    summary="Show a group, its events and their deliveries",
    responses={
        200: {"description": "The group with its timeline."},
        **problems(INVALID, UNKNOWN_GROUP),
    },
)
async def show(control: InControl, name: _Name, query: Annotated[DetailQuery, Query()]) -> Response:
    """Show the sums of its members, its events and the state of their deliveries.

    `GET /v1/operations?group=` lists the members.
    """
    detail = await control.store.groups.find(name, latest=query.events)
    if detail is None:
        raise Problem(
            UNKNOWN_GROUP,
            f"no group {name} is known",
            hint="register operations with that group, or list the groups; ended groups are "
            "kept for 14 days, or for store.retention if that is longer",
        )
    return DocumentResponse(show_group_detail(detail, control.store.now()))


@router.post(
    "/v1/groups/{name}/seal",
    response_model=GroupDocument,
    summary="Seal a group: it ends when all its members have",
    responses={
        200: {"description": "It is sealed, or will be at `expected` members; durable."},
        **problems(UNREADABLE, SLOW_BODY, UNKNOWN_GROUP, CONFLICT, TOO_LARGE, NOT_JSON, INVALID),
    },
)
async def seal(
    control: InControl,
    name: _Name,
    body: Annotated[Seal | None, Depends(JsonBody(Seal, required=False))],
) -> Response:
    """Seal it now, or with `{"expected": N}` as soon as it has N members.

    `{}` and no body seal it now. `expected` may be sent before the first member is registered.
    Repeating it is not an error.
    """
    try:
        group = await control.daemon.seal(name, None if body is None else body.expected)
    except UnknownGroup as error:
        raise Problem(UNKNOWN_GROUP, str(error)) from None
    except Conflict as error:
        raise Problem(CONFLICT, str(error)) from None
    return DocumentResponse(show_group(group, control.store.now()))
