"""Tasks that run while the body of an `async with` runs."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from anyio import create_task_group
from anyio.abc import TaskGroup


@asynccontextmanager
async def background() -> AsyncGenerator[TaskGroup, None]:
    """Run tasks until the body ends; then cancel them.

    An exception of the body is raised unchanged, not in an exception group, so that a program can
    catch its own exceptions. An exception of a task cancels the body and is raised in a group.
    """
    raised: Exception | None = None
    async with create_task_group() as tasks:
        try:
            yield tasks
        except Exception as error:  # noqa: BLE001 - raised below, without the group
            raised = error
        tasks.cancel_scope.cancel()
    if raised is not None:
        raise raised
