"""The tables. Instants are integers of microseconds since 1970 UTC, documents are JSON text.

Text rather than a database's own JSON type: PostgreSQL's refuses what the API may send (half a
surrogate pair, an escaped NUL), and nothing here is queried inside a document.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from poller.store.columns import Document, Instant, Sentence

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)

# conditions of partial indexes; a query states the same text, or a planner does not see that it may
# use them
OVER: Final = text("due_at IS NULL")
# the same condition in two forms, one for each index: with one form the planner would use the first
# index for both orders
FAILURES: Final = text("recipients_failed > 0")
HAS_FAILURES: Final = text("recipients_failed <> 0")
UNTRIED: Final = text("state = 'waiting' AND attempts = 0")
TRIED: Final = text("state = 'waiting' AND attempts > 0")

# the owners of operations: accounts, each at a base URL; a daemon uses the rows of one scope only
scopes: Final = Table(
    "scopes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("account", String, nullable=False),
    Column("base_url", String, nullable=False),
    UniqueConstraint("account", "base_url"),
)

watches: Final = Table(
    "watches",
    metadata,
    Column("id", String, primary_key=True),
    Column("scope_id", ForeignKey("scopes.id"), nullable=False),
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
    # since when the status and the counters are unchanged
    Column("moved_at", Instant),
    Column("updated_at", Instant),
    Column("created_at", Instant),
    Column("left_scheduled_at", Instant),
    Column("scheduled_for", Instant),
    Column("schedule_read_at", Instant),
    # the numbers of recipients, from the counters, for lists and sums
    Column("recipients", BigInteger, nullable=False, server_default="0"),
    Column("recipients_done", BigInteger, nullable=False, server_default="0"),
    Column("recipients_failed", BigInteger, nullable=False, server_default="0"),
    # data points of the counters, for the forecast: microseconds, done, passed, total
    Column("looks", Document, nullable=False),
    # the state that the events so far have reported
    Column("emitted_status", String),
    Column("emitted_counters", Document, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("progress_at", Instant),
    # of a message: the statuses of its attempts
    Column("emitted_attempts", Document, nullable=False),
    # the names of the alert rules that fired
    Column("emitted_alerts", Document, nullable=False, server_default="[]"),
    # consecutive refusals
    Column("not_found", Integer, nullable=False),
    Column("not_found_since", Instant),
    Column("rejected", Integer, nullable=False),
    # consecutive failures
    Column("failed", Integer, nullable=False, server_default="0"),
    # the hint of the vendor that no poll has answered yet, and its strength
    Column("hinted_at", Instant),
    Column("hinted_by", String),
    # the group that it is a member of
    Column("group_name", String),
    # the trace context of its events
    Column("traceparent", String),
    Column("tracestate", String),
    # the breakdown of failures: whether to read it, and the progress of reading it
    Column("wants_breakdown", Boolean),
    Column("breakdown", Document),
    # the request of the next poll, which follows from the columns above
    Column("next_request", String, nullable=False),
    Column("wait", Float, nullable=False),
    # null once it is no longer polled, so that the index that claims read has no ended ones
    Column("due_at", Instant),
    Column("set_at", Instant, nullable=False),
    Column("lease_owner", String),
    Column("lease_until", Instant),
    # true once retention has deleted the snapshot, the events and the deliveries
    Column("is_stub", Boolean, nullable=False, default=False),
    # the polled ones, with the columns for counting them; kind comes first, since with scope first
    # a planner without statistics would read a whole scope to find a few rows by id
    Index(
        "ix_watches_due",
        "kind",
        "scope_id",
        "due_at",
        "lease_until",
        "next_request",
        "emitted_status",
        sqlite_where=text("due_at IS NOT NULL"),
        postgresql_where=text("due_at IS NOT NULL"),
    ),
    # the members of a group, the newest first; partial, so that no other query of a scope uses it
    Index(
        "ix_watches_group",
        "scope_id",
        "group_name",
        "registered_at",
        "id",
        sqlite_where=text("group_name IS NOT NULL"),
        postgresql_where=text("group_name IS NOT NULL"),
    ),
    # those with failures, the most failures first, and the newest first
    Index(
        "ix_watches_failures",
        "scope_id",
        "recipients_failed",
        "registered_at",
        "id",
        sqlite_where=FAILURES,
        postgresql_where=FAILURES,
    ),
    Index(
        "ix_watches_newest_failures",
        "scope_id",
        "registered_at",
        "id",
        sqlite_where=HAS_FAILURES,
        postgresql_where=HAS_FAILURES,
    ),
    # the hints that wait for a poll, which are few
    Index(
        "ix_watches_hinted",
        "scope_id",
        "hinted_by",
        sqlite_where=text("hinted_by IS NOT NULL"),
        postgresql_where=text("hinted_by IS NOT NULL"),
    ),
    # the order of retention: watches that are no longer polled, by their end; the stubs apart
    Index(
        "ix_watches_over",
        "scope_id",
        "is_stub",
        "ended_at",
        "id",
        # so that ended ones are counted without reading their rows; SQLite needs `due_at` for it
        "phase",
        "outcome",
        "due_at",
        sqlite_where=OVER,
        postgresql_where=OVER,
    ),
    # lists, the newest first; without scope, since claims and pages would read a whole scope by it
    Index(None, "registered_at", "id"),
)

groups: Final = Table(
    "groups",
    metadata,
    Column("scope_id", ForeignKey("scopes.id"), nullable=False),
    Column("name", String, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expected", Integer),
    Column("sealed_at", Instant),
    Column("ended_at", Instant),
    # the numbers of members by state, the sums of their counters, and the labels that they share
    Column("members", Document, nullable=False),
    Column("stats", Document, nullable=False),
    Column("labels", Document, nullable=False),
    # the sums of the members' recipients, and since when nothing has moved
    Column("recipients", BigInteger, nullable=False, server_default="0"),
    Column("recipients_done", BigInteger, nullable=False),
    Column("recipients_failed", BigInteger, nullable=False, server_default="0"),
    Column("looks", Document, nullable=False, server_default="[]"),
    Column("moved_at", Instant),
    Column("members_ended_at", Instant),
    # members whose breakdown is being read, and those that have emitted it
    Column("explaining", Integer, nullable=False),
    Column("explained", Integer, nullable=False),
    Column("breakdown_at", Instant),
    # the state that the events so far have reported
    Column("emitted_members", Document, nullable=False),
    Column("emitted_stats", Document, nullable=False),
    Column("emitted_alerts", Document, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("progress_at", Instant),
    # when progress that is held back is to be emitted
    Column("due_at", Instant),
    # true once retention has deleted the events and the deliveries
    Column("is_stub", Boolean, nullable=False, default=False),
    PrimaryKeyConstraint("scope_id", "name"),
    Index(
        "ix_groups_due",
        "scope_id",
        "due_at",
        sqlite_where=text("due_at IS NOT NULL"),
        postgresql_where=text("due_at IS NOT NULL"),
    ),
    # groups that wait for their seal though all members have ended, and groups without members
    Index(
        "ix_groups_open",
        "scope_id",
        "members_ended_at",
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
    Index(None, "is_stub", "ended_at"),
    Index(None, "created_at", "name"),
)

# the sums of the members' breakdowns; in a table of their own, since every change of a member
# writes the row of its group
group_breakdowns: Final = Table(
    "group_breakdowns",
    metadata,
    Column("scope_id", ForeignKey("scopes.id"), nullable=False),
    Column("name", String, nullable=False),
    Column("breakdown", Document, nullable=False),
    PrimaryKeyConstraint("scope_id", "name"),
)

events: Final = Table(
    "events",
    metadata,
    # in commit order: taken from the row `event_position` of `counters`
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("id", String, nullable=False, unique=True),
    Column("scope_id", ForeignKey("scopes.id"), nullable=False),
    # the id of a watch, or the scope and name of a group (`events.group_subject`)
    Column("subject", String, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("type", String, nullable=False),
    Column("final", Boolean, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    Column("body", Text, nullable=False),
    Index(None, "subject", "sequence"),
)

deliveries: Final = Table(
    "deliveries",
    metadata,
    Column("scope_id", ForeignKey("scopes.id"), nullable=False),
    Column("sink", String, nullable=False),
    Column("position", ForeignKey("events.position"), nullable=False),
    Column("subject", String, nullable=False),
    Column("state", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("fresh_at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("set_at", Instant, nullable=False),
    Column("refused_at", Instant),
    Column("status", Integer),
    Column("error", Sentence),
    Column("done_at", Instant),
    Column("lease_owner", String),
    Column("lease_until", Instant),
    PrimaryKeyConstraint("position", "sink"),
    # the two orders of a claim, first attempts and repeated ones, with `position` at the end: so
    # deliveries that became due at the same moment are not sorted again for each claim
    Index(
        "ix_deliveries_untried",
        "scope_id",
        "sink",
        "due_at",
        "position",
        sqlite_where=UNTRIED,
        postgresql_where=UNTRIED,
    ),
    Index(
        "ix_deliveries_tried",
        "scope_id",
        "sink",
        "due_at",
        "position",
        sqlite_where=TRIED,
        postgresql_where=TRIED,
    ),
    # the order of a claim for a sink that takes events as they were recorded
    Index(None, "scope_id", "state", "sink", "position"),
    Index(None, "subject", "sink", "state", "position"),
)

sinks: Final = Table(
    "sinks",
    metadata,
    Column("scope_id", ForeignKey("scopes.id"), nullable=False),
    Column("name", String, nullable=False),
    Column("state", String, nullable=False),
    Column("since", Instant, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("unanswered", Integer, nullable=False),
    Column("unanswered_since", Instant),
    Column("delivered", Integer, nullable=False),
    Column("given_up", Integer, nullable=False),
    Column("probes", Integer, nullable=False),
    Column("next_at", Instant),
    Column("set_at", Instant),
    Column("tried_at", Instant),
    Column("paused_until", Instant),
    Column("paused_at", Instant),
    Column("status", Integer),
    Column("error", Sentence),
    # since when no daemon has this sink configured; null while one has
    Column("absent_since", Instant),
    PrimaryKeyConstraint("scope_id", "name"),
)

pauses: Final = Table(
    "pauses",
    metadata,
    Column("scope_id", ForeignKey("scopes.id"), primary_key=True),
    Column("reason", String, nullable=False),
    Column("since", Instant, nullable=False),
    Column("set_at", Instant, nullable=False),
    Column("until", Instant, nullable=False),
    Column("level", Integer, nullable=False),
    # the daemon that may probe whether the pause is over, and until when no other one may
    Column("probe_owner", String),
    Column("probe_until", Instant),
)

# the daemons that share this store; instants are the database's clock
daemons: Final = Table(
    "daemons",
    metadata,
    Column("scope_id", ForeignKey("scopes.id"), nullable=False),
    Column("owner", String, nullable=False),
    # for messages: the host and the process
    Column("name", String, nullable=False),
    # by name: the subscription of each of its sinks, and a fingerprint of the sink's settings
    Column("sinks", Document, nullable=False),
    Column("max_concurrency", Integer, nullable=False),
    Column("requests_per_second", Float, nullable=False),
    # how many requests it may have under way now
    Column("slots", Integer, nullable=False),
    Column("seen_at", Instant, nullable=False),
    # null while it runs, and where it was killed
    Column("left_at", Instant),
    PrimaryKeyConstraint("scope_id", "owner"),
)

# the rate of an account: when its next request may start
budgets: Final = Table(
    "budgets",
    metadata,
    Column("scope_id", ForeignKey("scopes.id"), primary_key=True),
    Column("next_at", Instant),
)

# which daemon sweeps a kind, and whether it is reading the list now
sweepers: Final = Table(
    "sweepers",
    metadata,
    Column("scope_id", ForeignKey("scopes.id"), nullable=False),
    Column("kind", String, nullable=False),
    Column("owner", String, nullable=False),
    Column("until", Instant, nullable=False),
    Column("is_reading", Boolean, nullable=False),
    PrimaryKeyConstraint("scope_id", "kind"),
)

POSITION: Final = "event_position"
"""The row of `counters` that gives events their positions."""

counters: Final = Table(
    "counters",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", BigInteger, nullable=False),
)
