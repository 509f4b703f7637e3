"""What a user may say about a webhook's receiver, its URL and headers, pure."""

import re
from typing import Final

from poller.addresses import Unusable, split_web_url

RESERVED_HEADERS: Final = frozenset(
    """
    connection content-encoding content-length content-type expect host keep-alive te trailer
    transfer-encoding upgrade webhook-id webhook-signature webhook-timestamp
    """.split()
)
"""What the poller or HTTP itself writes: another value breaks the signature or the framing."""

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?")
_URL_FIX: Final = (
    "write it like https://app.example.com/hooks/poller; credentials belong in headers"
)


def check_header(name: str, value: str) -> None:
    """Make sure that a header may be sent with every event.

    :raises Unusable: if it may not; it names the header.
    """
    try:
        check_header_name(name)
        check_header_value(value)
    except Unusable as error:
        raise Unusable(f"header {name!r}: {error.what}", error.fix) from None


def check_header_name(name: str) -> None:
    """Make sure that a header of that name may be sent.

    :raises Unusable: if it is no name, or the name of one that is ours.
    """
    if not _NAME.fullmatch(name):
        raise Unusable("not a name for a header", "use letters, digits and -")
    if name.lower() in RESERVED_HEADERS:
        raise Unusable("the poller writes this header itself", "leave it out")


def check_header_value(value: str) -> None:
    """Make sure that a header can have that value.

    :raises Unusable: if it would break the request.
    """
    if not _VALUE.fullmatch(value):
        raise Unusable(
            "a header's value is one line of printable ASCII without spaces around it",
            "remove line breaks and spaces at its ends",
        )


def check_url(url: str) -> None:
    """Make sure that events can be posted there.

    :raises Unusable: if it is no http(s) URL, or holds user info or a fragment.
    """
    split_web_url(url, fix=_URL_FIX)
    if "#" in url:
        raise Unusable("a webhook's URL has no fragment, it would never be sent", _URL_FIX)
