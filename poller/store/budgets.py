"""The budget of an account that several daemons share: permits, and one pause with one probe.

A daemon locks the row of the budget while it takes permits, so the daemons take turns. The rules
are those of a daemon that is alone, applied to the pace that is stored.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, Table, delete, insert, select, update

from poller.comms.budget import HORIZON, Pace, portion_size, share_of
from poller.comms.gate import Gate, Pause, Reason, RequestEnd, Room
from poller.store.clock import lease_clock, read_clock
from poller.store.columns import instant, microseconds
from poller.store.daemons import is_alive
from poller.store.database import is_shared
from poller.store.schema import budgets, daemons, pauses
from poller.store.scopes import pause_of, pause_values
from poller.tracking.watch import AccountScope

# seconds until another request for permits may succeed
_SLOT_WAIT: Final = 0.2
_PROBE_WAIT: Final = 0.5
_BEAT_WAIT: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PermitRequest:
    """The request of a daemon for permits while `in_flight` of its API requests are under way.

    `hurried` asks to probe a pause for refused credentials at once. No other daemon gets the probe
    for `probe_seconds`.
    """

    owner: str
    in_flight: int
    hurried: bool
    probe_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Permits:
    """The moments at which permitted requests may start; without any, ask again after `wait` s."""

    starts: Sequence[datetime]
    pause: Pause | None
    wait: float = 0.0


def lease_permits(
    connection: Connection, scope: AccountScope, request: PermitRequest, now: datetime
) -> Permits:
    """Take a few permits of the account; in a pause, at most the one for its probe."""
    budget = _locked(connection, budgets, scope)
    at = read_clock(connection, now)
    rows = connection.execute(select(daemons).where(daemons.c.scope_id == scope.id)).mappings()
    living = {row["owner"]: row for row in rows.all() if is_alive(row, at)}
    own = living.get(request.owner)
    if budget is None or own is None:
        # it is considered dead until its next heartbeat
        return Permits(starts=(), pause=None, wait=_BEAT_WAIT)
    stored = _locked(connection, pauses, scope)
    pause = None if stored is None else pause_of(stored)
    if stored is not None and not _takes_probe(connection, scope, stored, request, at):
        return Permits(starts=(), pause=pause, wait=_PROBE_WAIT)
    rate = min(row["requests_per_second"] for row in living.values())
    wanted = 1 if pause is not None else portion_size(rate)
    slots = share_of(
        min(row["max_concurrency"] for row in living.values()),
        daemons=len(living),
        others=sum(row["slots"] for owner, row in living.items() if owner != request.owner),
        in_flight=request.in_flight,
        wanted=wanted,
    )
    stored_pace, seconds = _pace(budget, rate), microseconds(at) / 1e6
    starts, pace = stored_pace.portion(seconds, min(wanted, slots - request.in_flight))
    _write_slots(connection, scope, own, slots=request.in_flight + len(starts), now=now)
    if not starts:
        wait = max(_SLOT_WAIT, stored_pace.wait(seconds) - HORIZON)
        return Permits(starts=(), pause=pause, wait=wait)
    connection.execute(
        update(budgets)
        .where(budgets.c.scope_id == scope.id)
        .values(next_at=instant(round(pace.expected * 1e6)))
    )
    return Permits(starts=[instant(round(start * 1e6)) for start in starts], pause=pause)


def change_pause(
    connection: Connection, scope: AccountScope, owner: str, outcome: RequestEnd
) -> Pause | None:
    """Apply the end of a request to the pause found here; return the pause after it.

    Only the daemon that has the probe can end the pause. So a pause that a refusal to another
    daemon has set meanwhile stays.
    """
    row = _locked(connection, pauses, scope)
    before = None if row is None else pause_of(row)
    if row is not None and is_shared(connection) and row["probe_owner"] != owner:
        outcome = replace(outcome, probe=False)
    after = Gate(pause=before).after(outcome).pause
    mine = pauses.c.scope_id == scope.id
    if after is None:
        if before is not None:
            connection.execute(delete(pauses).where(mine))
    elif before is None:
        connection.execute(insert(pauses).values(**pause_values(after), scope_id=scope.id))
    elif after != before:
        free = {"probe_owner": None, "probe_until": None}
        connection.execute(update(pauses).where(mine).values(**pause_values(after), **free))
    return after


def _takes_probe(
    connection: Connection,
    scope: AccountScope,
    row: RowMapping,
    request: PermitRequest,
    at: datetime,
) -> bool:
    """Take the probe of a pause, where it is due and no other daemon has it."""
    pause = pause_of(row)
    gate = Gate(pause=pause, hurried=request.hurried and pause.reason is not Reason.THROTTLED)
    if gate.room(at, in_flight=request.in_flight) is not Room.ONE:
        return False
    if row["probe_owner"] not in {None, request.owner} and row["probe_until"] > at:
        return False
    until = at + timedelta(seconds=request.probe_seconds)
    connection.execute(
        update(pauses)
        .where(pauses.c.scope_id == scope.id)
        .values(probe_owner=request.owner, probe_until=until)
    )
    return True


def _locked(connection: Connection, table: Table, scope: AccountScope) -> RowMapping | None:
    query = select(table).where(table.c.scope_id == scope.id).with_for_update()
    return connection.execute(query).mappings().one_or_none()


def _pace(budget: RowMapping, rate: float) -> Pace:
    pace, next_at = Pace.of(rate), budget["next_at"]
    return pace if next_at is None else replace(pace, expected=microseconds(next_at) / 1e6)


def _write_slots(
    connection: Connection, scope: AccountScope, own: RowMapping, *, slots: int, now: datetime
) -> None:
    values: dict[str, Any] = {"seen_at": lease_clock(connection, now), "slots": slots}
    connection.execute(
        update(daemons)
        .where(daemons.c.scope_id == scope.id, daemons.c.owner == own["owner"])
        .values(values)
    )
