"""The health of each sink, and the sinks that come and go."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, RowMapping, Update, func, insert, select, update

from poller.store.rows import health_of, health_values
from poller.store.schema import deliveries, sinks
from poller.store.tenancy import Tenant
from poller.tracking.delivery import GIVE_UP_AFTER, DeliveryState
from poller.tracking.sink_health import Health, SinkState

__all__ = [
    "SinkReport",
    "bury_absent",
    "configure",
    "enable",
    "health_for_update",
    "report",
    "write_health",
]

_WAITING = DeliveryState.WAITING.value


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkReport:
    """A sink as an operator sees it. `oldest` is when the longest waiting event was recorded."""

    name: str
    health: Health
    is_configured: bool
    waiting: int
    dead: int
    oldest: datetime | None


def configure(
    connection: Connection, tenant: Tenant, names: Collection[str], now: datetime
) -> None:
    """Take note of the sinks that settings name now.

    Each of them is enabled, and one that was down is probed at once; what waits for others waits
    from now on for their return.
    """
    rows = _rows(connection, tenant)
    for name in sorted(set(names) - set(rows)):
        values = health_values(Health(state=SinkState.OK, since=now))
        connection.execute(insert(sinks).values(**values, scope_id=tenant.id, name=name))
    for name, row in rows.items():
        if name in names:
            enable(connection, tenant, name, now)
            connection.execute(_update(tenant, name, absent_since=None))
        elif row["absent_since"] is None:
            connection.execute(_update(tenant, name, absent_since=now))


def enable(connection: Connection, tenant: Tenant, name: str, now: datetime) -> None:
    """Let a disabled or down sink try again at once."""
    health = health_for_update(connection, tenant, name, now)
    if health.state is SinkState.DISABLED:
        write_health(connection, tenant, name, Health(state=SinkState.OK, since=now))
        # who enables it wants to see it work, not what its last waits were
        connection.execute(
            update(deliveries)
            .where(
                deliveries.c.scope_id == tenant.id,
                deliveries.c.state == _WAITING,
                deliveries.c.sink == name,
                deliveries.c.due_at > now,
            )
            .values(due_at=now, set_at=now)
        )
    elif health.state is SinkState.DOWN:
        connection.execute(_update(tenant, name, probe_at=now, set_at=now, probes=0))


def health_for_update(connection: Connection, tenant: Tenant, name: str, now: datetime) -> Health:
    """Read and lock the health of a sink; a sink that was never heard of is ok since now."""
    query = select(sinks).where(_is(tenant, name)).with_for_update()
    row = connection.execute(query).mappings().one_or_none()
    return Health(state=SinkState.OK, since=now) if row is None else health_of(row)


def write_health(connection: Connection, tenant: Tenant, name: str, health: Health) -> None:
    """Write the health of a configured sink."""
    connection.execute(_update(tenant, name, **health_values(health)))


def bury_absent(connection: Connection, tenant: Tenant, now: datetime) -> int:
    """Give up what waits for sinks that no settings have named for three days."""
    gone = select(sinks.c.name).where(
        sinks.c.scope_id == tenant.id, sinks.c.absent_since <= now - GIVE_UP_AFTER
    )
    statement = (
        update(deliveries)
        .where(
            deliveries.c.scope_id == tenant.id,
            deliveries.c.state == _WAITING,
            deliveries.c.sink.in_(gone.scalar_subquery()),
        )
        .values(
            state=DeliveryState.DEAD.value,
            done_at=now,
            error="no settings have named this sink for three days",
        )
    )
    return connection.execute(statement).rowcount


def report(connection: Connection, tenant: Tenant) -> list[SinkReport]:
    """List every sink that is configured or is still waited for, by name."""
    counts = _counts(connection, tenant)
    reports = []
    for name, row in sorted(_rows(connection, tenant).items()):
        waiting, oldest = counts.get((name, _WAITING), (0, None))
        dead, _ = counts.get((name, DeliveryState.DEAD.value), (0, None))
        configured = row["absent_since"] is None
        if configured or waiting or dead:
            reports.append(
                SinkReport(
                    name=name,
                    health=health_of(row),
                    is_configured=configured,
                    waiting=waiting,
                    dead=dead,
                    oldest=oldest,
                )
            )
    return reports


def _counts(
    connection: Connection, tenant: Tenant
) -> dict[tuple[str, str], tuple[int, datetime | None]]:
    query = (
        select(
            deliveries.c.sink,
            deliveries.c.state,
            func.count().label("number"),
            func.min(deliveries.c.fresh_at).label("oldest"),
        )
        .where(
            deliveries.c.scope_id == tenant.id,
            deliveries.c.state.in_((_WAITING, DeliveryState.DEAD.value)),
        )
        .group_by(deliveries.c.sink, deliveries.c.state)
    )
    return {(row.sink, row.state): (row.number, row.oldest) for row in connection.execute(query)}


def _rows(connection: Connection, tenant: Tenant) -> Mapping[str, RowMapping]:
    query = select(sinks).where(sinks.c.scope_id == tenant.id)
    return {row["name"]: row for row in connection.execute(query).mappings()}


def _is(tenant: Tenant, name: str) -> ColumnElement[bool]:
    return (sinks.c.scope_id == tenant.id) & (sinks.c.name == name)


def _update(tenant: Tenant, name: str, **values: object) -> Update:
    return update(sinks).where(_is(tenant, name)).values(**values)
