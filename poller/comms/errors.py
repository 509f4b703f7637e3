"""How a request to the Communications API can fail, one class for each way to handle it.

The class has the scope of the error, whose fault it is and whether the same request can succeed
later; the instance has the details of the answer. The texts are bounded and printable. They contain
the request and the answer, but no header and no credential.
"""

from enum import StrEnum
from typing import ClassVar

from poller.text import printable


class Fault(StrEnum):
    """Who can correct the fault."""

    OURS = "ours"
    THEIRS = "theirs"
    NETWORK = "network"
    CONFIGURATION = "configuration"


class Scope(StrEnum):
    """What a failed request concerns, and so which requests have to wait."""

    ACCOUNT = "account"
    """Every request of the account has to wait."""
    CREDENTIALS = "credentials"
    """Every request of the account is refused until the credentials change."""
    KIND = "kind"
    """Every request of this kind is refused until its permission changes."""
    REQUEST = "request"
    """This request alone. The API works."""
    ANSWER = "answer"
    """There was an answer, but it cannot be used."""
    CONNECTION = "connection"
    """There was no answer, or an incomplete one."""

    @property
    def is_refusal(self) -> bool:
        """Whether the credentials, or what they permit, are refused."""
        return self in {Scope.CREDENTIALS, Scope.KIND}

    @property
    def is_pause(self) -> bool:
        """Whether other requests have to wait too."""
        return self is Scope.ACCOUNT or self.is_refusal

    @property
    def is_outage(self) -> bool:
        """Whether the API as a whole cannot be used."""
        return self in {Scope.ANSWER, Scope.CONNECTION}


class CommsError(Exception):
    """A request to the Communications API that failed.

    Facts of the class: `scope`; `fault`; `retryable`, whether the same request may succeed within
    minutes by itself; `label`, a short name for metrics; `remedy`, what happens next or what to do.

    Facts of the instance: `status` is the HTTP status, None where no answer came. `code` and `text`
    are those of the first error in the vendor's envelope, `enveloped` says whether the answer
    carried one (a gateway's page does not). `retry_after` is in seconds, as the API asked,
    unbounded. `hint` is a remedy for this case, else that of the class. `str()` is one
    sentence: what was requested (`action`), what happened, whose fault it is, what to do.
    """

    scope: ClassVar[Scope] = Scope.ANSWER
    fault: Fault = Fault.THEIRS
    retryable: ClassVar[bool] = True
    label: ClassVar[str] = "other"
    remedy: ClassVar[str] = "the request is repeated later"

    def __init__(
        self,
        action: str,
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
        self.action = action
        self.happened = printable(happened)
        self.status = status
        self.code = code
        self.text = None if text is None else printable(text)
        self.enveloped = enveloped
        self.retry_after = retry_after
        self.hint = hint or self.remedy
        if fault is not None:
            self.fault = fault
        super().__init__(f"{self.action}: {self.answered}; fault: {self.fault}; {self.hint}")

    @property
    def answered(self) -> str:
        """What happened, with the API's code and message in brackets."""
        details = ": ".join(str(part) for part in (self.code, self.text) if part is not None)
        return f"{self.happened} ({details})" if details else self.happened

    @property
    def own_hint(self) -> str | None:
        """The remedy for this case; None where only that of the class is known."""
        return None if self.hint == self.remedy else self.hint


class Unauthorized(CommsError):
    """401: the credentials are wrong, revoked or another account's. Pauses the account."""

    scope = Scope.CREDENTIALS
    fault = Fault.CONFIGURATION
    retryable = False
    label = "unauthorized"
    remedy = (
        "check the account id and its token, or the API key and its secret; "
        "they are read again before each probe"
    )


class Forbidden(CommsError):
    """403: the credentials are good but not for this resource. Pauses the kind."""

    scope = Scope.KIND
    fault = Fault.CONFIGURATION
    retryable = False
    label = "forbidden"
    remedy = "give the API key access to this resource, or use another key"


class NotFound(CommsError):
    """404: it does not exist, or not yet. Counts towards `operation.lost` where it is enveloped."""

    scope = Scope.REQUEST
    fault = Fault.OURS
    retryable = False
    label = "not_found"
    remedy = "check the id, its kind and its account"


class Rejected(CommsError):
    """400: the request itself is refused."""

    scope = Scope.REQUEST
    fault = Fault.OURS
    retryable = False
    label = "rejected"
    remedy = "check the id and the filters; the same request will be refused again"


class Throttled(CommsError):
    """429: too many requests of the account, at once or per second. It was not processed."""

    scope = Scope.ACCOUNT
    fault = Fault.OURS
    label = "throttled"
    remedy = (
        "the account pauses, then one request probes; if it happens often, lower "
        "api.max_concurrency or api.requests_per_second"
    )


class Unavailable(CommsError):
    """503: the API asks all clients to wait."""

    scope = Scope.ACCOUNT
    label = "unavailable"
    remedy = "the account pauses, then one request probes"


class ServerError(CommsError):
    """Any other 5xx."""

    label = "server_error"


class Unexpected(CommsError):
    """A status outside the reference (redirects are not followed), or a body that is not JSON."""

    label = "unexpected"
    remedy = (
        "the request is repeated later; if it persists, check api.base_url and the gateways in "
        "between"
    )


class NonsensicalAnswer(Unexpected):
    """JSON that is wrong: another id, no stats, a counter that is not a number."""

    retryable = False
    label = "nonsense"
    remedy = "the answer is dropped and changes nothing; the request is repeated later"


class TooLarge(CommsError):
    """A body over the size limit; it was not read to its end."""

    retryable = False
    label = "too_large"
    remedy = "the answer is dropped; check api.base_url and the gateways in between"


class DeadlineExceeded(CommsError):
    """The answer was not complete in time, counted from connecting to the last byte."""

    scope = Scope.CONNECTION
    fault = Fault.NETWORK
    label = "deadline"
    remedy = "the request is repeated later; if it persists, check the network or raise api.timeout"


class NetworkError(CommsError):
    """No answer, or only part of one: name lookup, connect, TLS, proxy, a connection cut."""

    scope = Scope.CONNECTION
    fault = Fault.NETWORK
    label = "network"
    remedy = "the request is repeated later; if it persists, check api.base_url and the network"
