"""What a whole HTTP answer means: a decoded document, or one of the errors. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

from poller.comms import errors
from poller.comms.decoding import Overflow, Undecodable, inflate, parse_json
from poller.comms.models import Nonsensical
from poller.contacts import scrub
from poller.retry_after import read_retry_after

__all__ = ["MOST_OF_A_REFUSAL", "Answer", "decode_answer", "read_refusal", "too_large"]

Decoded = TypeVar("Decoded")

MOST_OF_A_REFUSAL: Final = 64 * 1024
"""Bytes of a refusal's body that are looked at for the vendor's envelope."""

_BY_STATUS: Final[Mapping[int, type[errors.CommsError]]] = {
    400: errors.Rejected,
    401: errors.Unauthorized,
    403: errors.Forbidden,
    404: errors.NotFound,
    429: errors.Throttled,
    503: errors.Unavailable,
}
_MISDIRECTED: Final = frozenset((*range(300, 400), 407))
_LARGEST_CODE: Final = 10**9
_HINTS: Final[Mapping[range, str]] = {
    range(300, 400): (
        "redirects are not followed, for the credentials would go along; "
        "set api.base_url to where the API is"
    ),
    range(407, 408): "a proxy on the way wants credentials, but no proxy variable names it",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP answer, read to its end or its bound.

    The names in `headers` are in lower case; `body` is as it came, before `Content-Encoding` is
    undone.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def successful(self) -> bool:
        """Whether the status promises what was asked for."""
        return 200 <= self.status < 300  # noqa: PLR2004 - the class of success, RFC 9110


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    code: int | None = None
    text: str | None = None
    enveloped: bool = False


def decode_answer(
    answer: Answer, decode: Callable[[object], Decoded], *, asked: str, limit: int
) -> Decoded:
    """Return what `decode` makes of the JSON of a successful answer of at most `limit` bytes.

    :raises NonsensicalAnswer: where `decode` finds it `Nonsensical`.
    :raises Unexpected: where it is not JSON at all, such as HTML or nothing.
    :raises TooLarge: where it inflates to more than `limit` bytes.
    """
    failure: errors.CommsError
    try:
        return decode(parse_json(_inflated(answer, limit)))
    except Nonsensical as problem:
        failure = errors.NonsensicalAnswer(
            asked, f"the answer makes no sense: {problem}", status=answer.status
        )
    except Undecodable as problem:
        failure = errors.Unexpected(
            asked, f"the API answered {answer.status}, but the body {problem}", status=answer.status
        )
    except Overflow:
        failure = too_large(asked, answer.status, limit)
    raise failure


def read_refusal(
    answer: Answer, *, asked: str, now: datetime, redact: Callable[[str], str]
) -> errors.CommsError:
    """Return the error that an answer without success stands for, whatever its body holds.

    `now` stands in for an answer's missing `Date`; `redact` goes over what the API said, from
    which addresses are taken out besides: it may quote those of a message.
    """
    said = _read_envelope(answer)
    return _class_of(answer.status)(
        asked,
        f"the API answered {answer.status}",
        status=answer.status,
        code=said.code,
        text=None if said.text is None else scrub(redact(said.text)),
        enveloped=said.enveloped,
        retry_after=read_retry_after(
            answer.headers.get("retry-after"), date=answer.headers.get("date"), now=now
        ),
        hint=next((hint for among, hint in _HINTS.items() if answer.status in among), None),
        fault=errors.Fault.CONFIGURATION if answer.status in _MISDIRECTED else None,
    )


def too_large(asked: str, status: int, limit: int) -> errors.TooLarge:
    """Return the error of a body that passed its bound of `limit` bytes."""
    return errors.TooLarge(
        asked, f"the API answered {status} with over {limit} bytes", status=status
    )


def _class_of(status: int) -> type[errors.CommsError]:
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return errors.ServerError if 500 <= status < 600 else errors.Unexpected  # noqa: PLR2004 - 5xx


def _inflated(answer: Answer, limit: int) -> bytes:
    encoding = answer.headers.get("content-encoding", "")
    return inflate(answer.body, encoding=encoding, limit=limit)


def _read_envelope(answer: Answer) -> _Said:
    try:
        document = parse_json(_inflated(answer, MOST_OF_A_REFUSAL))
    except (Undecodable, Overflow):
        return _Said()
    if not isinstance(document, dict):
        return _Said()
    listed = document.get("errors")
    if isinstance(listed, list) and listed and isinstance(listed[0], dict):
        said = _read_error(listed[0], enveloped=True)
        return said if said.code is not None or said.text is not None else _Said()
    # The vendor's older APIs say the same without the list: good to show, but no envelope.
    return _read_error(document, enveloped=False)


def _read_error(error: Mapping[str, Any], *, enveloped: bool) -> _Said:
    code, message = error.get("code"), error.get("message")
    return _Said(
        code=code if type(code) is int and 0 <= code < _LARGEST_CODE else None,
        text=message if isinstance(message, str) and message.strip() else None,
        enveloped=enveloped,
    )
