"""Tasks that run while the body of an `async with` runs."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from anyio import create_task_group, get_cancelled_exc_class
from anyio.abc import TaskGroup


@asynccontextmanager
async def background() -> AsyncGenerator[TaskGroup, None]:
    """Run tasks until the body ends; then cancel them.

    An exception of the body is raised unchanged, not in an exception group, so that a program can
    catch its own exceptions, exit, or skip a test. An exception of a task cancels the body and is
    raised in a group.
    """
    raised: BaseException | None = None
    async with create_task_group() as tasks:
        try:
            yield tasks
        except (get_cancelled_exc_class(), GeneratorExit):
            raise  # the task group ends a cancellation
        except BaseException as error:
            if isinstance(error, BaseExceptionGroup) and not isinstance(error, Exception):
                raise  # it may contain a cancellation
            raised = error  # raised below, without the group
        tasks.cancel_scope.cancel()
    if raised is not None:
        raise raised
