"""What the API answers, decoded: operations, messages, pages of them.

Pure. A model keeps the document it was made of (`raw`), unknown members included, and what is not
one is refused with `Nonsensical`.
"""

from poller.comms.messages import (
    Message,
    MessagePage,
    ReceiptPage,
    decode_message,
    decode_message_page,
    decode_receipt_page,
)
from poller.comms.operations import (
    ErrorPage,
    Operation,
    OperationPage,
    decode_error_page,
    decode_operation,
    decode_page,
)
from poller.comms.reading import JsonObject, Nonsensical, parse_instant

__all__ = [
    "ErrorPage",
    "JsonObject",
    "Message",
    "MessagePage",
    "Nonsensical",
    "Operation",
    "OperationPage",
    "ReceiptPage",
    "decode_error_page",
    "decode_message",
    "decode_message_page",
    "decode_operation",
    "decode_page",
    "decode_receipt_page",
    "parse_instant",
]
