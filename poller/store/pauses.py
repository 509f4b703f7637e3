"""The pause that the API imposed on an account, kept so that a restart obeys it."""

from typing import Final

from sqlalchemy import Connection, delete, insert, select

from poller.comms.gate import Pause, Reason
from poller.store.schema import pauses
from poller.store.tenancy import Tenant

__all__ = ["read_pause", "write_pause"]

_TIMES: Final = ("since", "set_at", "until", "level")


def read_pause(connection: Connection, tenant: Tenant) -> Pause | None:
    """Read the stored pause; None where there is none."""
    query = select(pauses).where(pauses.c.scope_id == tenant.id)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        return None
    return Pause(reason=Reason(row["reason"]), **{name: row[name] for name in _TIMES})


def write_pause(connection: Connection, tenant: Tenant, pause: Pause | None) -> None:
    """Replace the stored pause; None removes it."""
    connection.execute(delete(pauses).where(pauses.c.scope_id == tenant.id))
    if pause is not None:
        values = {name: getattr(pause, name) for name in _TIMES}
        connection.execute(
            insert(pauses).values(**values, reason=pause.reason.value, scope_id=tenant.id)
        )
