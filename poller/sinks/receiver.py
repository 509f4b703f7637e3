"""What a user may say about a webhook's receiver, its URL and headers, pure."""

import re
from urllib.parse import urlsplit

__all__ = ["check_header", "check_url"]

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?")
_OURS = frozenset(
    {"connection", "content-encoding", "content-length", "content-type", "transfer-encoding"}
    | {"webhook-id", "webhook-signature", "webhook-timestamp"}
)


def check_header(name: str, value: str) -> None:
    """Make sure that a header may be sent with every event.

    :raises ValueError: if it may not; the message says why and never repeats the value.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a header name: use letters, digits and '-'")
    if name.lower() in _OURS:
        raise ValueError(f"header {name} is set by the poller itself: leave it out")
    if not _VALUE.fullmatch(value):
        raise ValueError(
            f"the value of header {name} must be printable ASCII on one line, without blanks"
            " around it"
        )


def check_url(url: str) -> None:
    """Make sure that events can be posted there.

    :raises ValueError: if not; the message says why and never repeats the URL, which may hold
        somebody's token.
    """
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        credentials = "@" in parts.netloc
    except ValueError:
        known = credentials = False
    if not known or not url.isprintable() or " " in url:
        raise ValueError("url must be like https://host/path")
    if credentials:
        raise ValueError("url must not hold credentials: set the header authorization instead")
    if "#" in url:
        raise ValueError("url must not have a fragment: leave out '#' and what follows")
