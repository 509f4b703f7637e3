"""One cache of compiled statements for all engines of a process.

SQLAlchemy keeps the SQL of each statement with the engine that ran it, and that of tables nowhere.
Tests make a thousand stores, and would spend a tenth of their time on compiling the same
statements again.
"""

from collections.abc import Hashable
from typing import Any

from sqlalchemy import Compiled, Dialect, Engine
from sqlalchemy.sql.ddl import BaseDDLElement, CreateIndex, CreateTable
from sqlalchemy.util import LRUCache

__all__ = ["share"]

_STATEMENTS: LRUCache[Hashable, Any] = LRUCache(5_000)


class _Shared:
    """What an engine takes for its own cache: a key names a kind of dialect, not an instance."""

    def __init__(self, kind: Hashable) -> None:
        self._kind = kind

    def get(self, key: tuple[Any, ...]) -> Any:  # noqa: ANN401 - a compiled statement
        return _STATEMENTS.get((self._kind, *key[1:]))

    def __setitem__(self, key: tuple[Any, ...], statement: object) -> None:
        _STATEMENTS[self._kind, *key[1:]] = statement


def share() -> None:
    """Let each engine that is made from now on use the cache of all."""
    make = Engine.__init__

    def shared(self: Engine, pool: Any, dialect: Any, *args: Any, **options: Any) -> None:  # noqa: ANN401 - as theirs
        make(self, pool, dialect, *args, **options)
        self._compiled_cache = _Shared((type(dialect), dialect.paramstyle))  # type: ignore[assignment]

    Engine.__init__ = shared  # type: ignore[method-assign]
    for kind in (CreateTable, CreateIndex):
        _share_definitions(kind)


def _share_definitions(kind: type[CreateTable | CreateIndex]) -> None:
    """Compile the definition of each table or index once for each kind of dialect."""
    compile_definition: Any = BaseDDLElement._compiler

    def shared(self: CreateTable | CreateIndex, dialect: Dialect, **options: Any) -> Compiled:  # noqa: ANN401 - as theirs
        key = (kind, self.element, self.if_not_exists, type(dialect), str(options))
        if (found := _STATEMENTS.get(key)) is None:
            found = _STATEMENTS[key] = compile_definition(self, dialect, **options)
        return found  # type: ignore[no-any-return]

    kind._compiler = shared  # type: ignore[method-assign,assignment]
