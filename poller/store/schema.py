"""The tables. Instants are integers of microseconds since 1970 UTC, documents are JSON text.

Text rather than a database's own JSON type: PostgreSQL's refuses what the API may send (half a
surrogate pair, an escaped NUL), and nothing here is queried inside a document.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    TypeDecorator,
)

from poller.tracking.events import dump_json

__all__ = [
    "counters",
    "deliveries",
    "events",
    "metadata",
    "pauses",
    "sinks",
    "watches",
]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Instant(TypeDecorator[datetime]):
    """An aware `datetime`, stored as microseconds since 1970 UTC."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Store an instant."""
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """Read an instant."""
        return None if value is None else _EPOCH + value * _MICROSECOND


class Document(TypeDecorator[Any]):
    """Anything JSON, stored as text that is always valid UTF-8."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: object, dialect: Dialect) -> str | None:
        """Store a document."""
        return None if value is None else dump_json(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> object:
        """Read a document."""
        return None if value is None else json.loads(value)


metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)

watches: Final = Table(
    "watches",
    metadata,
    Column("id", String, primary_key=True),
    Column("account", String, nullable=False),
    Column("base_url", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("labels", Document, nullable=False),
    Column("registered_at", Instant, nullable=False),
    Column("phase", String, nullable=False),
    Column("outcome", String),
    Column("ended_at", Instant),
    Column("settle_until", Instant),
    # the last accepted answer
    Column("snapshot", Document),
    Column("counters", Document, nullable=False),
    Column("observed_at", Instant),
    Column("updated_at", Instant),
    Column("created_at", Instant),
    Column("left_scheduled_at", Instant),
    # what the events have told
    Column("emitted_status", String),
    Column("emitted_counters", Document, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("progress_at", Instant),
    # refusals in a row
    Column("not_found", Integer, nullable=False),
    Column("not_found_since", Instant),
    Column("rejected", Integer, nullable=False),
    # the next look
    Column("wait", Float, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("set_at", Instant, nullable=False),
    Column("lease_owner", String),
    Column("lease_until", Instant),
    # true once retention has taken the snapshot, the events and the deliveries
    Column("is_stub", Boolean, nullable=False, default=False),
    Index(None, "account", "base_url", "phase", "due_at"),
    Index(None, "phase", "ended_at"),
)

events: Final = Table(
    "events",
    metadata,
    # in commit order: given out by the row `event_position` of `counters`
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("id", String, nullable=False, unique=True),
    Column("watch_id", ForeignKey("watches.id"), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("type", String, nullable=False),
    Column("final", Boolean, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    Column("body", Text, nullable=False),
    Index(None, "watch_id", "sequence"),
)

deliveries: Final = Table(
    "deliveries",
    metadata,
    Column("sink", String, nullable=False),
    Column("position", ForeignKey("events.position"), nullable=False),
    Column("watch_id", ForeignKey("watches.id"), nullable=False),
    Column("state", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("fresh_at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("set_at", Instant, nullable=False),
    Column("refused_at", Instant),
    Column("status", Integer),
    Column("error", Text),
    Column("done_at", Instant),
    Column("lease_owner", String),
    Column("lease_until", Instant),
    PrimaryKeyConstraint("sink", "position"),
    Index(None, "state", "sink", "due_at", "position"),
    Index(None, "watch_id", "sink", "state", "position"),
    Index(None, "position"),
)

sinks: Final = Table(
    "sinks",
    metadata,
    Column("name", String, primary_key=True),
    Column("state", String, nullable=False),
    Column("since", Instant, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("probes", Integer, nullable=False),
    Column("probe_at", Instant),
    Column("set_at", Instant),
    Column("status", Integer),
    Column("error", Text),
    # since when no daemon's settings name this sink; null while they do
    Column("absent_since", Instant),
)

pauses: Final = Table(
    "pauses",
    metadata,
    Column("account", String, nullable=False),
    Column("base_url", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("since", Instant, nullable=False),
    Column("set_at", Instant, nullable=False),
    Column("until", Instant, nullable=False),
    Column("level", Integer, nullable=False),
    PrimaryKeyConstraint("account", "base_url"),
)

counters: Final = Table(
    "counters",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", BigInteger, nullable=False),
)
