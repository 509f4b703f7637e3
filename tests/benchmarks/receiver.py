"""A webhook receiver that does next to nothing, in a process of its own: reads, and answers 204."""

import asyncio

__all__ = ["main"]

_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.partition(b":")[2])
                for line in head.lower().split(b"\r\n")
                if line.startswith(b"content-length:")
            )
            await reader.readexactly(length)
            writer.write(_ANSWER)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def _run() -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - how the address is learned
    await server.serve_forever()


def main() -> None:
    """Print the port and serve until killed."""
    asyncio.run(_run())


if __name__ == "__main__":
    main()
