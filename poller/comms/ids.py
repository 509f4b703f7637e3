"""The vendor's identifiers: `comms_operation_…` and `comms_message_…`."""

import re
from typing import Final

# The patterns of the vendor's reference, anchored at both ends: an id becomes part of a URL path.
_SUFFIX: Final = r"[0-7][a-hjkmnpqrstv-z0-9]{25,34}"
OPERATION_ID: Final = re.compile(rf"comms_operation_{_SUFFIX}")
MESSAGE_ID: Final = re.compile(rf"comms_message_{_SUFFIX}")

_SHOWN: Final = 80
_AN_OPERATION: Final = "comms_operation_01h9krwprkeee8fzqspvwy6nq8"
_A_MESSAGE: Final = "comms_message_01h9krwprkeee8fzqspvwy6nq8"


class InvalidId(ValueError):
    """The text is not an id of the vendor; the message shows an example."""


def check_operation_id(text: str) -> str:
    """Return `text` where it is an operation id.

    :raises InvalidId: otherwise, showing at most the first 80 characters of `text`.
    """
    if OPERATION_ID.fullmatch(text):
        return text
    shown = _shorten(text)
    if MESSAGE_ID.fullmatch(text):
        raise InvalidId(
            f"{shown!r} is the id of a message; name the operation that sent it "
            "(`operationId` in the answer to the send, comms_operation_…)"
        )
    raise InvalidId(
        f"{shown!r} is not an operation id; one looks like {_AN_OPERATION} "
        "(`operationId` in the answer to the send)"
    )


def check_message_id(text: str) -> str:
    """Return `text` where it is the id of a message.

    :raises InvalidId: otherwise, showing at most the first 80 characters of `text`.
    """
    if MESSAGE_ID.fullmatch(text):
        return text
    raise InvalidId(f"{_shorten(text)!r} is not the id of a message; one looks like {_A_MESSAGE}")


def check_watchable_id(text: str) -> str:
    """Return `text` where it is the id of an operation or of a message.

    :raises InvalidId: otherwise, showing at most the first 80 characters of `text`.
    """
    if OPERATION_ID.fullmatch(text) or is_message_id(text):
        return text
    raise InvalidId(
        f"{_shorten(text)!r} is the id of no operation and of no message; they look like "
        f"{_AN_OPERATION} (`operationId` in the answer to the send) and {_A_MESSAGE}"
    )


def is_message_id(text: str) -> bool:
    """Whether `text` is the id of a message."""
    return MESSAGE_ID.fullmatch(text) is not None


def _shorten(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
