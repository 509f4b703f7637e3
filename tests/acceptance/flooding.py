"""A flood of pushes, in a process of its own: it would keep the fakes of a test from their work.

`python -m tests.acceptance.flooding PORT PUSHES` pushes as fast as answers come, and prints how
they were, by the names of its parts.
"""

import json
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

from tests.fakes.api import operation_id
from tests.fakes.pushes import batch, request

__all__ = ["HINTED", "Part", "parts"]

HINTED: Final = [operation_id(number) for number in range(20)]
"""What genuine pushes are about."""

_UNKNOWN: Final = [operation_id(number) for number in range(1000, 1050)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Pushes of one sort, from some connections, and how they may be answered."""

    name: str
    connections: int
    pushes: Iterator[bytes]
    answers: frozenset[int]


def parts() -> Sequence[Part]:
    """Return what the flood is made of; verified pushes may be refused where there are too many."""
    numbers = count()
    taken, refused = frozenset({204, 503}), frozenset({403})
    large = b"[" + b" " * (1024 * 1024) + b"]"
    return [
        Part(
            name="genuine",
            connections=40,
            # of each operation it says what the API does not: that it has ended
            pushes=(
                request(batch(one, number=f"{number}")) for number in numbers for one in HINTED
            ),
            answers=taken,
        ),
        Part(
            name="unknown",
            connections=20,
            pushes=(request(batch(*_UNKNOWN, number=f"{one}")) for one in numbers),
            answers=taken,
        ),
        Part(
            name="replayed",
            connections=20,
            pushes=(request(batch(HINTED[0], number="again")) for _ in numbers),
            answers=taken,
        ),
        Part(
            name="malformed",
            connections=10,
            pushes=(request(b"nonsense") for _ in numbers),
            answers=frozenset({400, 503}),
        ),
        Part(
            name="oversized",
            connections=2,
            pushes=(request(large) for _ in numbers),
            answers=frozenset({413, 503}),
        ),
        Part(
            name="forged",
            connections=100,
            pushes=(request(batch(*HINTED, number=f"{one}"), password="other") for one in numbers),
            answers=refused,
        ),
    ]


class Flood:
    """Pushes as fast as answers come, and counts these by the name of the part."""

    def __init__(self, port: int, most: int) -> None:
        self.answers: dict[str, Counter[int]] = {}
        self._port = port
        self._left = iter(range(most))
        self._lock = threading.Lock()

    def run(self) -> None:
        """Push until that number was sent."""
        threads = []
        for part in parts():
            self.answers[part.name] = Counter()
            threads += [
                threading.Thread(target=self._push, args=(part,)) for _ in range(part.connections)
            ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _push(self, part: Part) -> None:
        answered: Counter[int] = Counter()
        while (sent := self._next(part)) is not None:
            # a connection that is closed after an answer is opened again
            with socket.create_connection(("127.0.0.1", self._port), timeout=30) as line:
                while sent is not None and (status := _exchange(line, sent)):
                    answered[status] += 1
                    sent = self._next(part)
        with self._lock:
            self.answers[part.name] += answered

    def _next(self, part: Part) -> bytes | None:
        with self._lock:
            return next(part.pushes) if next(self._left, None) is not None else None


def _exchange(line: socket.socket, sent: bytes) -> int:
    """Send a push, and read the answer; 0 where the connection is closed."""
    try:
        line.sendall(sent)
        head = b""
        while b"\r\n\r\n" not in head:
            head += (part := line.recv(65536))
            if not part:
                return 0
    except ConnectionError:
        return 0
    head, _, body = head.partition(b"\r\n\r\n")
    [length] = [
        int(field.partition(b":")[2])
        for field in head.lower().split(b"\r\n")
        if field.startswith(b"content-length:")
    ] or [0]
    while len(body) < length and (part := line.recv(65536)):
        body += part
    return int(head.split()[1])


def main(port: str, most: str) -> None:
    """Push `most` times."""
    flood = Flood(int(port), int(most))
    flood.run()
    json.dump(flood.answers, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
