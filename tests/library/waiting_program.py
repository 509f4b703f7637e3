"""A program with a poller inside, to be killed: registers what is new, and waits for its end."""

import os
import sys

import anyio

import poller


async def main(watched: str) -> None:
    """Print `waiting`, then the final event."""
    async with poller.Poller(
        account_sid=os.environ["SID"],
        auth_token=os.environ["TOKEN"],
        base_url=os.environ["BASE_URL"],
        store="sqlite:///poller.db",
        settings={"polling": {"max_interval": "1s"}},
    ) as embedded:
        await embedded.watch(watched)
        print("waiting", flush=True)  # noqa: T201 - what the test reads
        event = await embedded.wait(watched)
        print(event.body, flush=True)  # noqa: T201 - as above


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
