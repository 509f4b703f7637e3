"""What one client may take of us, and reading a body within it."""

import json
import re
from dataclasses import dataclass
from typing import Final

import anyio
from starlette.requests import Request

from poller.server.problems import NOT_JSON, SLOW_BODY, TOO_LARGE, UNREADABLE, Problem

__all__ = ["MOST_IN_BULK", "Limits", "read_json"]

MOST_IN_BULK: Final = 10_000

_JSON: Final = re.compile(r"application/([\w.+-]+\+)?json", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bytes, seconds and numbers; the defaults are what the daemon runs with.

    `head_seconds` is for a request to come in up to its last byte, `body_seconds` for a body that
    is waited for; `slow_seconds` is how long an event stream may refuse to take anything.
    """

    body_bytes: int = 4 * 1024 * 1024
    body_seconds: float = 20.0
    head_seconds: float = 30.0
    keep_alive_seconds: float = 15.0
    connections: int = 512
    streams: int = 64
    slow_seconds: float = 30.0
    heartbeat_seconds: float = 15.0
    stop_seconds: float = 2.0


async def read_json(request: Request, limits: Limits, *, required: bool = True) -> object:
    """Read the body of a request; None for an empty one that is not `required`.

    :raises Problem: where it is no JSON, says that it is something else, or takes too much.
    """
    body = await _read(request, limits)
    if not body and not required:
        return None
    media_type = request.headers.get("content-type", "").partition(";")[0].strip()
    if not _JSON.fullmatch(media_type):
        raise Problem(
            NOT_JSON,
            f"Content-Type is {media_type[:80] or 'missing'!r}",
            hint="send Content-Type: application/json",
        )
    try:
        document: object = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Problem(UNREADABLE, f"not valid JSON: {error}"[:300]) from None
    return document


async def _read(request: Request, limits: Limits) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limits.body_bytes:
        raise _too_large(limits)
    body = bytearray()
    try:
        with anyio.fail_after(limits.body_seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limits.body_bytes:
                    raise _too_large(limits)
    except TimeoutError:
        raise Problem(SLOW_BODY, f"no whole body within {limits.body_seconds:g} s") from None
    return bytes(body)


def _too_large(limits: Limits) -> Problem:
    return Problem(
        TOO_LARGE,
        f"a body may have up to {limits.body_bytes} bytes",
        hint=f"register up to {MOST_IN_BULK} operations at a time, in several requests",
    )
