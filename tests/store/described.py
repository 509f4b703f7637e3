"""All that a database holds, as its own catalogue tells it, to compare one with another."""

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Connection, inspect, select, table, text

__all__ = ["Description", "describe"]

Description = dict[str, set[tuple[object, ...]]]
"""What there is, by what it is. The order of the columns is left out: it differs where a migration
added one, and nothing reads by it."""

# an automatic index is numbered in the order of the constraints that it serves; those are compared
_SQLITE: Final = {
    "objects": "SELECT type, name, tbl_name FROM sqlite_master WHERE name NOT LIKE 'sqlite_auto%'",
    "tables": "SELECT name, type, wr, strict FROM pragma_table_list WHERE schema = 'main'",
    "statements": "SELECT name, sql FROM sqlite_master WHERE type <> 'table' AND sql IS NOT NULL",
    "counted": "SELECT name FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%'",
    "columns": """
        SELECT t.name, c.name, c.type, c."notnull", c.dflt_value, c.pk, c.hidden
        FROM sqlite_master t, pragma_table_xinfo(t.name) c WHERE t.type = 'table'
    """,
    "indexes": """
        SELECT t.name, i."unique", i.origin, i.partial,
            group_concat(c.name || ' ' || c.desc || ' ' || c.coll)
        FROM sqlite_master t, pragma_index_list(t.name) i, pragma_index_xinfo(i.name) c
        WHERE c.key GROUP BY t.name, i.name
    """,
    "references": """
        SELECT t.name, f.seq, f."table", f."from", f."to", f.on_update, f.on_delete, f.match
        FROM sqlite_master t, pragma_foreign_key_list(t.name) f
    """,
}
_POSTGRESQL: Final = {
    "objects": """
        SELECT relname, relkind::text, relpersistence::text, reloptions::text,
            obj_description(oid, 'pg_class')
        FROM pg_class WHERE relnamespace = 'public'::regnamespace
    """,
    "types": """
        SELECT typname, typtype::text FROM pg_type
        WHERE typnamespace = 'public'::regnamespace
    """,
    "columns": """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
            a.attidentity::text, a.attgenerated::text, a.attcollation::regcollation::text,
            pg_get_expr(d.adbin, d.adrelid), col_description(a.attrelid, a.attnum)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
            LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
            AND a.attnum > 0 AND NOT a.attisdropped
    """,
    "constraints": """
        SELECT conrelid::regclass::text, conname, contype::text, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    """,
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "sequences": """
        SELECT sequencename, data_type::text, start_value, min_value, max_value, increment_by,
            cycle, last_value
        FROM pg_sequences WHERE schemaname = 'public'
    """,
    "triggers": "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
}


def describe(connection: Connection) -> Description:
    """Describe tables, columns, types, defaults, constraints, indexes and rows."""
    is_sqlite = connection.dialect.name == "sqlite"
    found: Description = {
        part: {tuple(row) for row in connection.execute(text(question))}
        for part, question in (_SQLITE if is_sqlite else _POSTGRESQL).items()
    }
    names = inspect(connection).get_table_names()
    if is_sqlite:
        # their names, which SQLite keeps in the text of its statements alone
        found["constraints"] = {row for name in names for row in _constraints(connection, name)}
    for name in names:
        rows = connection.execute(select(text("*")).select_from(table(name))).mappings()
        found[f"rows of {name}"] = {tuple(sorted(row.items())) for row in rows}
    return found


def _constraints(connection: Connection, name: str) -> Iterable[tuple[object, ...]]:
    looked = inspect(connection)
    found: list[Any] = [
        looked.get_pk_constraint(name),
        *looked.get_unique_constraints(name),
        *looked.get_foreign_keys(name),
        *looked.get_check_constraints(name),
    ]
    return [(name, repr(sorted(one.items()))) for one in found]
