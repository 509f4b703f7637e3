"""How far everything is: what is watched, what waits, what can go on."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from poller.store.schema import deliveries, sinks, watches
from poller.store.tenancy import Tenant
from poller.store.watches import count_watched
from poller.tracking.delivery import DeliveryState
from poller.tracking.sink_health import SinkState
from poller.tracking.watch import Outcome

__all__ = ["Summary", "summary"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Counts for one scope. `lost` and `dead` count since a given moment.

    `waiting` counts deliveries that can go on, `stuck` those that cannot: their sink is disabled
    or no longer configured.
    """

    watched: int
    waiting: int
    stuck: int
    lost: int
    dead: int

    @property
    def is_idle(self) -> bool:
        """True where nothing more will happen by itself."""
        return self.watched == 0 and self.waiting == 0

    @property
    def is_clean(self) -> bool:
        """True where everything ended and everything was delivered."""
        return self.is_idle and not (self.stuck or self.lost or self.dead)


def summary(
    connection: Connection, tenant: Tenant, *, since: datetime, closed: Collection[str]
) -> Summary:
    """Count. `closed` names sinks that are disabled in this process alone."""
    off = set(closed) | _off(connection, tenant)
    waiting = _waiting(connection, tenant)
    stuck = sum(number for sink, number in waiting.items() if sink in off)
    return Summary(
        watched=count_watched(connection, tenant),
        waiting=sum(waiting.values()) - stuck,
        stuck=stuck,
        lost=_lost(connection, tenant, since),
        dead=_dead(connection, tenant, since),
    )


def _off(connection: Connection, tenant: Tenant) -> set[str]:
    query = select(sinks.c.name).where(
        sinks.c.scope_id == tenant.id,
        (sinks.c.state == SinkState.DISABLED.value) | sinks.c.absent_since.is_not(None),
    )
    return set(connection.execute(query).scalars())


def _waiting(connection: Connection, tenant: Tenant) -> dict[str, int]:
    query = (
        select(deliveries.c.sink, func.count().label("number"))
        .where(
            deliveries.c.scope_id == tenant.id,
            deliveries.c.state == DeliveryState.WAITING.value,
        )
        .group_by(deliveries.c.sink)
    )
    return {row.sink: row.number for row in connection.execute(query)}


def _lost(connection: Connection, tenant: Tenant, since: datetime) -> int:
    query = select(func.count()).where(
        watches.c.scope_id == tenant.id,
        watches.c.outcome == Outcome.LOST.value,
        watches.c.ended_at >= since,
    )
    return connection.execute(query).scalar_one()


def _dead(connection: Connection, tenant: Tenant, since: datetime) -> int:
    query = select(func.count()).where(
        deliveries.c.scope_id == tenant.id,
        deliveries.c.state == DeliveryState.DEAD.value,
        deliveries.c.done_at >= since,
    )
    return connection.execute(query).scalar_one()
