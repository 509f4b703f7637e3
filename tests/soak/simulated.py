"""A simulator in a process of its own: prints its base URL and serves until it is killed."""

import argparse

import anyio
from anyio.abc import TaskStatus

from poller.simulator import SimulatorConfig, serve

__all__ = ["main"]


async def _run(config: SimulatorConfig) -> None:
    async def start(*, task_status: TaskStatus[str] = anyio.TASK_STATUS_IGNORED) -> None:
        await serve(config, task_status=task_status)

    async with anyio.create_task_group() as tasks:
        print(await tasks.start(start), flush=True)  # noqa: T201 - how the test learns the address


def main() -> None:
    """Serve a world in real time, with an answer in fifty that goes wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    config = SimulatorConfig(
        seed=parser.parse_args().seed,
        speed=1.0,
        rate_500=0.01,
        rate_broken=0.008,
        rate_429=0.002,
    )
    anyio.run(_run, config)


if __name__ == "__main__":
    main()
