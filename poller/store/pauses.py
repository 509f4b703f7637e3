"""The pause that the API imposed on an account, kept so that a restart obeys it."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from poller.store.schema import pauses
from poller.store.tenancy import Tenant

__all__ = ["read_pause", "write_pause"]

COLUMNS = ("reason", "since", "set_at", "until", "level")


def read_pause(connection: Connection, tenant: Tenant) -> Mapping[str, Any] | None:
    """Read the stored pause as its fields; None where there is none."""
    query = select(*(pauses.c[name] for name in COLUMNS)).where(pauses.c.home_id == tenant.id)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else dict(row)


def write_pause(connection: Connection, tenant: Tenant, fields: Mapping[str, Any] | None) -> None:
    """Replace the stored pause; None removes it."""
    connection.execute(delete(pauses).where(pauses.c.home_id == tenant.id))
    if fields is not None:
        values = {name: fields[name] for name in COLUMNS}
        connection.execute(insert(pauses).values(**values, home_id=tenant.id))
