"""Homes: whose operations the rows are. One daemon serves one."""

from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select

from poller.store.schema import scopes, watches
from poller.tracking.watch import AccountScope

__all__ = ["Tenant", "find_tenant", "foreign_operations", "move_in", "scope_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A scope and the id of its row."""

    id: int
    scope: AccountScope


def find_tenant(connection: Connection, scope: AccountScope) -> Tenant | None:
    """Find the row of `scope`; None where there is none."""
    query = select(scopes.c.id).where(
        scopes.c.account == scope.account, scopes.c.base_url == scope.base_url
    )
    found = connection.execute(query).scalar_one_or_none()
    return None if found is None else Tenant(id=found, scope=scope)


def move_in(connection: Connection, scope: AccountScope) -> Tenant:
    """Find the row of `scope`, or make it."""
    if (known := find_tenant(connection, scope)) is not None:
        return known
    values = {"account": scope.account, "base_url": scope.base_url}
    made = connection.execute(insert(scopes).values(values).returning(scopes.c.id)).scalar_one()
    return Tenant(id=made, scope=scope)


def scope_of(connection: Connection, scope_id: int) -> AccountScope:
    """Read a scope by the id of its row."""
    row = connection.execute(select(scopes).where(scopes.c.id == scope_id)).mappings().one()
    return AccountScope(account=row["account"], base_url=row["base_url"])


def foreign_operations(connection: Connection, tenant: Tenant) -> int:
    """Count the operations that wait for a daemon of another scope."""
    query = select(func.count()).where(
        watches.c.scope_id != tenant.id,
        watches.c.due_at.is_not(None),
    )
    return connection.execute(query).scalar_one()
