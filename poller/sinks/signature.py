"""Standard Webhooks signatures, pure: no clock, no socket, no settings.

The rules are those of the specification's "Signature scheme" (https://www.standardwebhooks.com):
HMAC-SHA256 over `id.timestamp.body`, written as `v1,<base64>`, one for each key.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable

MIN_KEY_BYTES = 24
MAX_KEY_BYTES = 64
KEYGEN_COMMAND = (
    "python3 -c \"import base64,os; print('whsec_'+base64.b64encode(os.urandom(32)).decode())\""
)
"""One line of shell that makes a good secret, for messages and documentation."""

_PREFIX = "whsec_"


def parse_secret(text: str) -> tuple[bytes, ...]:
    """Return the keys in a secret: `whsec_` + base64 of 24-64 bytes, several separated by spaces.

    :raises ValueError: if any part is something else; the message says what is wrong and how to
        make a good one, and never repeats any of the secret.
    """
    parts = text.split()
    if not parts:
        raise ValueError(_complaint("is empty"))
    return tuple(
        _parse_key(part, place=f"part {number} of {len(parts)} " if len(parts) > 1 else "")
        for number, part in enumerate(parts, start=1)
    )


def sign(*, keys: Iterable[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of the `webhook-signature` header: `v1,<base64>` per key, space separated.

    `timestamp` is in whole seconds since the epoch, the same as in `webhook-timestamp`.
    """
    signed = f"{message_id}.{timestamp}.".encode() + body
    return " ".join(f"v1,{_digest(key, signed)}" for key in keys)


def _digest(key: bytes, signed: bytes) -> str:
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def _parse_key(part: str, *, place: str) -> bytes:
    if not part.startswith(_PREFIX):
        raise ValueError(_complaint(f"{place}does not begin with {_PREFIX}"))
    encoded = part.removeprefix(_PREFIX)
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if base64.b64encode(key).decode() != encoded:  # padding and alphabet as every receiver reads it
        raise ValueError(_complaint(f"{place}is not base64 after {_PREFIX}"))
    if not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
        raise ValueError(
            _complaint(f"{place}holds {len(key)} bytes, not {MIN_KEY_BYTES} to {MAX_KEY_BYTES}")
        )
    return key


def _complaint(fault: str) -> str:
    return (
        f"a webhook secret is {_PREFIX} and the base64 of {MIN_KEY_BYTES} to {MAX_KEY_BYTES} random"
        f" bytes; this one {fault.strip()}. Make one with: {KEYGEN_COMMAND}"
    )
