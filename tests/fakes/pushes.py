"""Pushes of hints, as the vendor's Event Streams send them, and as others might."""

import hashlib
import json
from base64 import b64encode
from typing import Final

from pydantic import SecretStr

from poller.server.hints import PATH, sign

__all__ = ["PASSWORD", "USER", "batch", "request", "signature"]

USER: Final = "vendor"
PASSWORD: Final = "pass:word"


def batch(*ids: str, kind: str = "completed", number: str = "1") -> bytes:
    """Write a batch with one event about each operation; `number` makes its events new ones."""
    return json.dumps(
        [
            {
                "specversion": "1.0",
                "id": f"EZ{number}-{one}",
                "source": "/AC1",
                "type": f"com.twilio.comms-api.operation.{kind}",
                "data": {"operation_id": one},
            }
            for one in ids
        ]
    ).encode()


def signature(body: bytes, *, url: str, token: SecretStr) -> tuple[str, str]:
    """Return the query and the signature that the vendor sends with a body."""
    query = f"bodySHA256={hashlib.sha256(body).hexdigest()}"
    return query, sign(token, f"{url}?{query}")


def request(body: bytes, *, password: str = PASSWORD) -> bytes:
    """Write a whole request with HTTP Basic: httpx would take longer than the listener."""
    credentials = b64encode(f"{USER}:{password}".encode()).decode()
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {credentials}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
