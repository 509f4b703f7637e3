"""Scopes: the accounts, each at its base URL, that own rows; and the pause of each.

One daemon serves one scope, and its transactions touch the rows of that scope only.
"""

from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, func, insert, select

from poller.comms.gate import Pause, Reason
from poller.store.schema import pauses, scopes, watches
from poller.tracking.watch import AccountScope

_PAUSE: Final = ("since", "set_at", "until", "level")


def find_scope(connection: Connection, scope: AccountScope) -> AccountScope | None:
    """Return `scope` with the id of its row; None where the store does not know it."""
    query = select(scopes.c.id).where(
        scopes.c.account == scope.account, scopes.c.base_url == scope.base_url
    )
    found = connection.execute(query).scalar_one_or_none()
    return None if found is None else replace(scope, id=found)


def find_or_create_scope(connection: Connection, scope: AccountScope) -> AccountScope:
    """Return `scope` with the id of its row, which is inserted where the store has none."""
    if (known := find_scope(connection, scope)) is not None:
        return known
    values = {"account": scope.account, "base_url": scope.base_url}
    made = connection.execute(insert(scopes).values(values).returning(scopes.c.id)).scalar_one()
    return replace(scope, id=made)


def read_scope(connection: Connection, scope_id: int) -> AccountScope:
    """Read a scope by the id of its row."""
    row = connection.execute(select(scopes).where(scopes.c.id == scope_id)).mappings().one()
    return AccountScope(id=scope_id, account=row["account"], base_url=row["base_url"])


def foreign_operations(connection: Connection, scope: AccountScope) -> int:
    """Count the operations that only a daemon of another scope polls."""
    query = select(func.count()).where(
        watches.c.scope_id != scope.id,
        watches.c.due_at.is_not(None),
    )
    return connection.execute(query).scalar_one()


def read_pause(connection: Connection, scope: AccountScope) -> Pause | None:
    """Read the stored pause; None where there is none."""
    query = select(pauses).where(pauses.c.scope_id == scope.id)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else pause_of(row)


def pause_of(row: RowMapping) -> Pause:
    """Read a row of `pauses`."""
    return Pause(reason=Reason(row["reason"]), **{name: row[name] for name in _PAUSE})


def pause_values(pause: Pause) -> dict[str, Any]:
    """Write a row of `pauses`, all columns but the key and the owner of the probe."""
    return {name: getattr(pause, name) for name in _PAUSE} | {"reason": pause.reason.value}
