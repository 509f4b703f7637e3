"""How a request to the Communications API can fail, named for what the poller does about it.

Pure values that are raised. Whose fault it was, whether asking the same again can help, and what
to do about it are facts of the class; what the API said is a fact of the instance. The texts hold
nothing but what was asked and what was answered, bounded and printable: no header, no credential.
"""

from enum import StrEnum
from typing import ClassVar, Final

__all__ = [
    "CommsError",
    "DeadlineExceeded",
    "Fault",
    "Forbidden",
    "NetworkError",
    "NonsensicalAnswer",
    "NotFound",
    "Rejected",
    "ServerError",
    "Throttled",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
    "Unexpected",
    "printable",
]

_LONGEST_TEXT: Final = 300


class Fault(StrEnum):
    """Whose it is to mend."""

    OURS = "ours"
    THEIRS = "theirs"
    NETWORK = "network"
    CONFIGURATION = "configuration"


def printable(text: str, *, limit: int = _LONGEST_TEXT) -> str:
    """Return `text` on one line, of at most `limit` characters, what cannot be printed as “?”."""
    line = "".join(c if c.isprintable() else "?" for c in " ".join(text[: 2 * limit].split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"


class CommsError(Exception):
    """A request to the Communications API that brought nothing to use.

    `status` is the HTTP status, None where no answer came. `code` and `text` are those of the
    first error in the vendor's envelope, `enveloped` says whether the answer carried one (a
    gateway's page does not). `retry_after` is in seconds, as asked for, unbounded. `retryable`
    says whether the same request may well succeed later without anybody's doing. `str()` is one
    sentence: what was asked, what happened, whose fault it is, what to do.
    """

    fault: Fault = Fault.THEIRS
    retryable: bool = True
    remedy: ClassVar[str] = "it is asked again later"

    def __init__(
        self,
        asked: str,
        happened: str,
        *,
        status: int | None = None,
        code: int | None = None,
        text: str | None = None,
        enveloped: bool = False,
        retry_after: float | None = None,
        hint: str | None = None,
        fault: Fault | None = None,
    ) -> None:
        self.asked = asked
        self.happened = printable(happened)
        self.status = status
        self.code = code
        self.text = None if text is None else printable(text)
        self.enveloped = enveloped
        self.retry_after = retry_after
        self.hint = hint or self.remedy
        if fault is not None:
            self.fault = fault
        super().__init__(self._sentence())

    def _sentence(self) -> str:
        said = [str(part) for part in (self.code, self.text) if part is not None]
        quoted = f" ({': '.join(said)})" if said else ""
        return f"{self.asked}: {self.happened}{quoted}; fault: {self.fault}; {self.hint}"


class Unauthorized(CommsError):
    """401: the credentials are wrong, revoked or another account's. Pauses the account."""

    fault = Fault.CONFIGURATION
    retryable = False
    remedy = (
        "check the account id and its token, or the API key and its secret; "
        "they are read afresh before each probe"
    )


class Forbidden(CommsError):
    """403: the credentials are good but not for this resource. Pauses the kind."""

    fault = Fault.CONFIGURATION
    retryable = False
    remedy = "give the API key access to this resource, or use another key"


class NotFound(CommsError):
    """404: no such thing, or not yet. Counts towards `operation.lost` where it is enveloped."""

    fault = Fault.OURS
    retryable = False
    remedy = "check the id; is it of another kind, or of another account?"


class Rejected(CommsError):
    """400: the request itself is refused."""

    fault = Fault.OURS
    retryable = False
    remedy = "check the id and the filters; the same request will be refused again"


class Throttled(CommsError):
    """429: too much at once, or too fast, for the account as a whole. Never processed."""

    fault = Fault.OURS
    remedy = (
        "the account pauses, then one request probes; if it happens often, lower "
        "api.max_concurrency or api.requests_per_second"
    )


class Unavailable(CommsError):
    """503: the API asks everybody to wait."""

    remedy = "the account pauses, then one request probes"


class ServerError(CommsError):
    """Any other 5xx."""


class Unexpected(CommsError):
    """A status outside the reference (redirects are not followed), or a body that is not JSON."""

    remedy = "it is asked again later; if it persists, check api.base_url and what stands between"


class NonsensicalAnswer(Unexpected):
    """JSON, but not what was asked for: another id, no stats, a counter that is none."""

    remedy = "the answer is dropped and changes nothing; it is asked again later"


class TooLarge(CommsError):
    """A body over the bound for its kind; it was not read to its end."""

    remedy = "the answer is dropped; check api.base_url and what stands between"


class DeadlineExceeded(CommsError):
    """The whole of the answer, connect to last byte, did not come in time."""

    fault = Fault.NETWORK
    remedy = (
        "it is asked again later; if it persists, check the way to the API or raise api.timeout"
    )


class NetworkError(CommsError):
    """No answer, or only part of one: name lookup, connect, TLS, proxy, a connection cut."""

    fault = Fault.NETWORK
    remedy = "it is asked again later; if it persists, check api.base_url and the way to it"
