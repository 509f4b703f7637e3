"""Tasks that run beside the body of an `async with`."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from anyio import create_task_group
from anyio.abc import TaskGroup


@asynccontextmanager
async def background() -> AsyncGenerator[TaskGroup, None]:
    """Run tasks until the body ends; they are cancelled then.

    What the body raises comes out as it is, not within an exception group: a program catches its
    own exceptions. What a task raises cancels the body and comes out in a group.
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
