"""The errors of a client of the control API. Imports nothing."""

from typing import Final

_USAGE: Final = frozenset({400, 413, 415, 422})
_SERVER_ERROR: Final = 500
_PROBLEM: Final = "urn:comms-poller:problem:"


class ControlError(Exception):
    """A daemon did not answer, or refused. `str()` names the error and the remedy.

    `is_usage` says that the request must be changed.
    """

    is_usage = False


class BadAddress(ControlError):
    """The text is not an address of a control API."""

    is_usage = True


class Unreachable(ControlError):
    """Nothing answers at the address, or the answer was cut off."""

    def __init__(self, where: str, happened: str, hint: str | None = None) -> None:
        remedy = hint or "start `poller run`, or name where it listens with --url"
        super().__init__(f"no daemon answers at {where}: {happened}; {remedy}")


class NoDaemon(ControlError):
    """Another program answers at the address."""

    def __init__(self, where: str, happened: str) -> None:
        super().__init__(
            f"what answers at {where} is not a poller: {happened}; "
            "name where the daemon listens with --url"
        )


class NoToken(ControlError):
    """The daemon requires a bearer token, or another one."""

    def __init__(self, where: str) -> None:
        super().__init__(
            f"the daemon at {where} refuses the token; "
            "set POLLER_SERVER__TOKEN to the value of its server.token"
        )


class UnknownOperation(ControlError):
    """The daemon does not know an operation, or does not know it any more."""

    def __init__(self, operation_id: str, where: str) -> None:
        super().__init__(
            f"the daemon at {where} does not know {operation_id}; "
            f"register it with: `poller add {operation_id}`"
        )


class WrongKind(ControlError):
    """The command line names another kind for an operation than the daemon."""

    is_usage = True

    def __init__(self, operation_id: str, *, requested: str, known: str) -> None:
        super().__init__(
            f"--kind: the daemon watches {operation_id} as one of {known}, not {requested}; "
            "leave --kind out"
        )


class Refused(ControlError):
    """The daemon answered with a problem (RFC 9457). `name` is the end of its type.

    The message has the title only where the daemon failed: what it says of a request includes it.
    """

    @classmethod
    def from_document(cls, status: int, document: object) -> "Refused | None":
        """Return the error that a document describes; None where it is not a problem."""
        if not isinstance(document, dict) or not isinstance(document.get("title"), str):
            return None
        return cls(
            status=status,
            name=str(document.get("type", "")).removeprefix(_PROBLEM),
            title=document["title"],
            detail=document.get("detail"),
            hint=document.get("hint"),
        )

    def __init__(
        self, *, status: int, name: str, title: str, detail: str | None, hint: str | None
    ) -> None:
        message = detail or title
        if detail is not None and status >= _SERVER_ERROR:
            message = f"{title}: {detail}"
        super().__init__(message if hint is None else f"{message}; {hint}")
        self.status = status
        self.name = name
        self.detail = detail or title
        self.hint = hint
        self.is_usage = status in _USAGE
