"""The status of the daemon as plain values: running loops, and troubles with their remedies."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from poller.comms.caller import Failing
from poller.comms.gate import Pause, Reason
from poller.store.sinks import SinkReport
from poller.text import counted, format_instant
from poller.tracking.group import Group
from poller.tracking.sink_health import SinkState

_PAUSED: Final[Mapping[Reason, tuple[str, str]]] = {
    Reason.UNAUTHORIZED: (
        "credentials",
        "the API refuses the credentials (401); correct them, then send SIGHUP",
    ),
    Reason.FORBIDDEN: (
        "permission",
        "the API refuses this kind (403); give the API key access to it, then send SIGHUP",
    ),
    Reason.THROTTLED: (
        "throttle",
        "the API asks to wait (429 or 503); if often, lower api.requests_per_second",
    ),
}
_SINK_HINTS: Final[Mapping[SinkState, str]] = {
    SinkState.REJECTING: "it answers, but refuses some events; `poller show` says which",
    SinkState.FAILING: "its events are tried one at a time until one is delivered",
    SinkState.DOWN: "one event is tried at most every 5 minutes until one is answered",
    SinkState.DISABLED: "the receiver answered 410; SIGHUP, a restart or a replay enables it",
}


UNSEALED_FOR: Final = timedelta(days=1)
"""How long a group may wait for its seal after its last member has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Degraded:
    """Trouble that does not prevent registrations. `what` names it, as in `sink app`."""

    what: str
    since: datetime
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Loops:
    """Seconds since the last turn of each loop (None: not begun), and the loops that hang.

    `stopping` holds while the daemon finishes its work and stops.
    """

    ages: Mapping[str, float | None]
    silent: frozenset[str]
    stopping: bool


def api_trouble(failing: Failing | None) -> list[Degraded]:
    """Report that requests to the API fail."""
    if failing is None:
        return []
    return [Degraded(what="api", since=failing.since, hint=failing.error)]


def foreign_trouble(waiting: int, *, started_at: datetime) -> list[Degraded]:
    """Report that operations of another scope wait in the store."""
    if not waiting:
        return []
    hint = f"{waiting} belong to another account or base_url; only a daemon of that one polls them"
    return [Degraded(what="foreign operations", since=started_at, hint=hint)]


def group_trouble(unsealed: Sequence[Group]) -> list[Degraded]:
    """Report groups that would have ended if they were sealed."""
    return [
        Degraded(
            what=f"group {group.name}",
            since=group.members_ended_at or group.created_at,
            hint=f"every member has ended, and it is not sealed: poller group seal {group.name}",
        )
        for group in unsealed
    ]


def pause_trouble(account: Pause | None, kinds: Mapping[str, Pause]) -> list[Degraded]:
    """Report the pauses that hold requests back."""
    paused = [("", account)] if account is not None else []
    paused += [(f" of {kind}", pause) for kind, pause in sorted(kinds.items())]
    return [
        Degraded(what=_PAUSED[pause.reason][0] + of, since=pause.since, hint=_hint(pause))
        for of, pause in paused
    ]


def sink_trouble(
    reports: Sequence[SinkReport], *, closed: Collection[str], started_at: datetime
) -> list[Degraded]:
    """Report the sinks that do not accept events; those in `closed` do so at the next start."""
    found = []
    for report in reports:
        what, since, error = f"sink {report.name}", report.health.since, report.health.error
        if not report.is_configured:
            if report.waiting:
                waiting = counted(report.waiting, "event")
                hint = f"it is not configured; its waiting events are kept three days ({waiting})"
                found.append(Degraded(what=what, since=report.oldest or started_at, hint=hint))
        elif report.name in closed:
            hint = "its output is closed; its events wait for the next start"
            found.append(Degraded(what=what, since=started_at, hint=hint))
        elif report.health.state is not SinkState.OK:
            hint = _SINK_HINTS[report.health.state]
            if report.health.state is SinkState.REJECTING:
                hint = f"refused {report.refused:,} of {counted(report.answered, 'event')}; {hint}"
            text = f"{error}; {hint}" if error else hint
            found.append(Degraded(what=what, since=since, hint=text))
    return found


def _hint(pause: Pause) -> str:
    return f"{_PAUSED[pause.reason][1]}; next try at {format_instant(pause.until)}"
