"""What can be wrong between a command and a daemon, in sentences. Imports nothing."""

from typing import Final

_USAGE: Final = frozenset({400, 413, 415, 422})


class ControlError(Exception):
    """A daemon could not be asked, or said no. `str()` names the fault and the remedy.

    `is_usage` says that it is the caller who has to ask differently.
    """

    is_usage = False


class BadAddress(ControlError):
    """What was given is no address of a control API."""

    is_usage = True


class Unreachable(ControlError):
    """Nobody answers at the address, or the answer broke off."""

    def __init__(self, where: str, happened: str, hint: str | None = None) -> None:
        remedy = hint or "start `poller run`, or name where it listens with --url"
        super().__init__(f"no daemon answers at {where}: {happened}; {remedy}")


class NoDaemon(ControlError):
    """Something answers, and it is no poller."""

    def __init__(self, where: str, happened: str) -> None:
        super().__init__(
            f"what answers at {where} is not a poller: {happened}; "
            "name where the daemon listens with --url"
        )


class NoToken(ControlError):
    """The daemon wants another bearer token, or one at all."""

    def __init__(self, where: str) -> None:
        super().__init__(
            f"the daemon at {where} refuses the token; "
            "set POLLER_SERVER__TOKEN to what its server.token is"
        )


class UnknownOperation(ControlError):
    """The daemon has never heard of an operation, or long forgotten it."""

    def __init__(self, operation_id: str, where: str) -> None:
        super().__init__(
            f"the daemon at {where} does not know {operation_id}; "
            f"hand it over with: `poller add {operation_id}`"
        )


class WrongKind(ControlError):
    """The command line says another kind of an operation than the daemon does."""

    is_usage = True

    def __init__(self, operation_id: str, *, said: str, known: str) -> None:
        super().__init__(
            f"--kind: the daemon knows {operation_id} as one of {known}, not {said}; "
            "leave --kind out"
        )


class Refused(ControlError):
    """The daemon answered with a problem (RFC 9457). `name` is the end of its type."""

    def __init__(
        self, *, status: int, name: str, title: str, detail: str | None, hint: str | None
    ) -> None:
        said = title if detail is None else f"{title}: {detail}"
        super().__init__(said if hint is None else f"{said}; {hint}")
        self.status = status
        self.name = name
        self.detail = detail or title
        self.hint = hint
        self.is_usage = status in _USAGE
