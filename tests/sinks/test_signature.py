"""Signatures are exactly what Standard Webhooks specifies, and no message holds a secret."""

import base64
import os
from datetime import UTC, datetime

import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from poller.sinks.signature import KEYGEN_COMMAND, parse_secret, sign

VECTOR_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def _secret(key: bytes) -> str:
    return "whsec_" + base64.b64encode(key).decode()


def test_published_vector() -> None:
    """The specification's published example comes out byte for byte."""
    signature = sign(
        keys=parse_secret(VECTOR_SECRET),
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
        body=b'{"test": 2432232314}',
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(key=st.binary(min_size=24, max_size=64), text=st.text(), other=st.binary(min_size=24))
def test_reference_library_accepts(key: bytes, text: str, other: bytes) -> None:
    """The reference library verifies every signature, one of several included."""
    body = text.encode(errors="replace")
    now = int(datetime.now(UTC).timestamp())
    (parsed,) = parse_secret(_secret(key))
    assert parsed == key
    headers = {
        "webhook-id": "event-1",
        "webhook-timestamp": str(now),
        "webhook-signature": sign(
            keys=(other, parsed), message_id="event-1", timestamp=now, body=body
        ),
    }
    standardwebhooks.Webhook(_secret(key)).verify(body, headers, json_parse=False)


def test_rotation_gives_a_signature_for_each() -> None:
    """While a secret rotates, each key signs, in the order given."""
    old, new = os.urandom(24), os.urandom(64)
    keys = parse_secret(f" {_secret(new)}  {_secret(old)}\n")
    assert keys == (new, old)
    both = sign(keys=keys, message_id="a", timestamp=1, body=b"x").split(" ")
    assert both == [sign(keys=(key,), message_id="a", timestamp=1, body=b"x") for key in keys]


@pytest.mark.parametrize(
    ("secret", "fault"),
    [
        ("", "is empty"),
        ("  \n", "is empty"),
        ("hunter2hunter2", "does not begin with whsec_"),
        ("WHSEC_" + "A" * 32, "does not begin with whsec_"),
        ("whsec_", "holds 0 bytes"),
        ("whsec_hunter2!hunter2", "is not base64"),
        ("whsec_hünter2hünter2", "is not base64"),
        (_secret(b"k" * 32).rstrip("="), "is not base64"),
        ("whsec_" + base64.urlsafe_b64encode(b"\xff" * 24).decode(), "is not base64"),
        (_secret(b"k" * 23), "holds 23 bytes, not 24 to 64"),
        (_secret(b"k" * 65), "holds 65 bytes"),
        (f"{VECTOR_SECRET} nonsense", "part 2 of 2 does not begin"),
    ],
)
def test_anything_else_is_refused(secret: str, fault: str) -> None:
    """What is no secret is refused with its fault and a remedy, and without repeating it."""
    with pytest.raises(ValueError, match=fault) as caught:
        parse_secret(secret)
    message = str(caught.value)
    assert KEYGEN_COMMAND in message
    for part in secret.split():
        assert part.removeprefix("whsec_") not in message.replace(KEYGEN_COMMAND, "") or (
            part == "whsec_"
        )
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
