"""Homes: whose operations the rows are. One daemon serves one."""

from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select

from poller.store.schema import homes, watches
from poller.tracking.watch import Home

__all__ = ["Tenant", "foreign_operations", "home_of", "move_in"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A home and the id of its row."""

    id: int
    home: Home


def move_in(connection: Connection, home: Home) -> Tenant:
    """Find the row of `home`, or make it."""
    key = select(homes.c.id).where(
        homes.c.account == home.account, homes.c.base_url == home.base_url
    )
    found = connection.execute(key).scalar_one_or_none()
    if found is None:
        values = {"account": home.account, "base_url": home.base_url}
        found = connection.execute(insert(homes).values(values).returning(homes.c.id)).scalar_one()
    return Tenant(id=found, home=home)


def home_of(connection: Connection, home_id: int) -> Home:
    """Read a home by the id of its row."""
    row = connection.execute(select(homes).where(homes.c.id == home_id)).mappings().one()
    return Home(account=row["account"], base_url=row["base_url"])


def foreign_operations(connection: Connection, tenant: Tenant) -> int:
    """Count the operations that wait for a daemon of another home."""
    query = select(func.count()).where(
        watches.c.home_id != tenant.id,
        watches.c.due_at.is_not(None),
    )
    return connection.execute(query).scalar_one()
