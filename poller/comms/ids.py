"""The vendor's identifiers: `comms_operation_…` and `comms_message_…`."""

import re
from typing import Final

__all__ = ["MESSAGE_ID", "OPERATION_ID", "InvalidId", "check_message_id", "check_operation_id"]

# The patterns of the vendor's reference, anchored at both ends: an id becomes part of a URL path.
_SUFFIX: Final = r"[0-7][a-hjkmnpqrstv-z0-9]{25,34}"
OPERATION_ID: Final = re.compile(rf"comms_operation_{_SUFFIX}")
MESSAGE_ID: Final = re.compile(rf"comms_message_{_SUFFIX}")

_SHOWN: Final = 80


class InvalidId(ValueError):
    """What was given is not an id of the vendor; the message says what one looks like."""


def check_operation_id(text: str) -> str:
    """Return `text` where it is an operation id.

    :raises InvalidId: otherwise, showing at most the first 80 characters of `text`.
    """
    if OPERATION_ID.fullmatch(text):
        return text
    shown = _shorten(text)
    if MESSAGE_ID.fullmatch(text):
        raise InvalidId(
            f"{shown!r} is the id of a message; watch the operation that sent it "
            "(`operationId` in the answer to the send, comms_operation_…)"
        )
    raise InvalidId(
        f"{shown!r} is not an operation id; one looks like "
        "comms_operation_01h9krwprkeee8fzqspvwy6nq8 (`operationId` in the answer to the send)"
    )


def check_message_id(text: str) -> str:
    """Return `text` where it is the id of a message.

    :raises InvalidId: otherwise, showing at most the first 80 characters of `text`.
    """
    if MESSAGE_ID.fullmatch(text):
        return text
    raise InvalidId(
        f"{_shorten(text)!r} is not the id of a message; "
        "one looks like comms_message_01h9krwprkeee8fzqspvwy6nq8"
    )


def _shorten(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
