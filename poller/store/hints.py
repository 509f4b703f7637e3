"""Hints of the vendor: which of them bring a poll forward, and how many may wait at a time.

Functions of a connection inside a transaction; the caller commits.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from poller.comms.ids import is_message_id
from poller.comms.kinds import DEFAULT_KIND
from poller.store.registrations import Registered, register_all
from poller.store.rows import difference, watch_of, watch_values
from poller.store.schema import watches
from poller.store.watches import chunks, lock_watches, write_watch
from poller.tracking.hint import HintEffect
from poller.tracking.pacing import Policy, take_hint
from poller.tracking.registration import Registration
from poller.tracking.watch import AccountScope, HintStrength, Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class Hinted:
    """The results of hints: how many had which effect, and the operations that were discovered."""

    effects: Mapping[HintEffect, int]
    discovered: Sequence[Registered] = ()

    @property
    def has_work(self) -> bool:
        """Whether a poll is due earlier than before."""
        return bool(self.discovered) or HintEffect.WOKEN in self.effects


def record_hints(
    connection: Connection,
    scope: AccountScope,
    hints: Mapping[str, HintStrength],
    *,
    policy: Policy,
    most: int,
    discovers: bool,
    now: datetime,
) -> Hinted:
    """Bring polls forward. At most `most` watches have an unanswered hint of each strength.

    With `discovers`, an unknown operation (not even a stub is stored) that a direct hint names is
    registered. Operations of another scope count as unknown.
    """
    effects: Counter[HintEffect] = Counter()
    scopes = _scopes(connection, sorted(hints))
    effects[HintEffect.UNKNOWN] = len(hints) - len(scopes)
    discovered: list[Registered] = []
    if discovers:
        new = [
            Registration(id=name, kind=DEFAULT_KIND.name)
            for name, strength in sorted(hints.items())
            if name not in scopes and strength is HintStrength.DIRECT and not is_message_id(name)
        ]
        discovered = register_all(connection, scope, new, now, policy=policy)
        effects[HintEffect.DISCOVERED] = len(new)
        effects[HintEffect.UNKNOWN] -= len(new)
    own = sorted(name for name, scope_id in scopes.items() if scope_id == scope.id)
    effects[HintEffect.UNKNOWN] += len(scopes) - len(own)
    rows = lock_watches(connection, own, scope)
    waiting = _waiting(connection, scope) if rows else Counter()
    for name, row in rows.items():
        before = watch_of(row, scope)
        after = take_hint(before, hints[name], policy=policy, now=now)
        effect = _effect(before, after, waiting, most)
        effects[effect] += 1
        if after is not None and effect is HintEffect.WOKEN:
            changes = difference(watch_values(before), watch_values(after))
            write_watch(connection, name, changes)
    return Hinted(effects=+effects, discovered=discovered)


def _effect(
    before: Watch, after: Watch | None, waiting: Counter[HintStrength], most: int
) -> HintEffect:
    """Return the effect of a hint, and add it to `waiting` where it waits from now on."""
    if after is None or after.hint is None:
        return HintEffect.UNCHANGED
    strength = after.hint.strength
    if before.hint is None or before.hint.strength is not strength:
        if waiting[strength] >= most:
            return HintEffect.DROPPED
        waiting[strength] += 1
    return HintEffect.WOKEN


def _scopes(connection: Connection, ids: Sequence[str]) -> dict[str, int]:
    """Read the scope of each id that is known."""
    found: dict[str, int] = {}
    for chunk in chunks(ids):
        query = select(watches.c.id, watches.c.scope_id).where(watches.c.id.in_(chunk))
        found |= {row.id: row.scope_id for row in connection.execute(query)}
    return found


def _waiting(connection: Connection, scope: AccountScope) -> Counter[HintStrength]:
    """Count the hints of each strength that no poll has answered yet."""
    query = (
        select(watches.c.hinted_by, func.count())
        .where(watches.c.scope_id == scope.id, watches.c.hinted_by.is_not(None))
        .group_by(watches.c.hinted_by)
    )
    return Counter({HintStrength(name): count for name, count in connection.execute(query).all()})
