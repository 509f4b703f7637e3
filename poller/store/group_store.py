"""The groups of a store, as the engine, the control API and the commands use them."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from poller.store import group_reports as reports
from poller.store import groups as rows
from poller.store.group_reports import GroupDetail, GroupFilter, GroupListing, GroupState
from poller.store.groups import GroupChange
from poller.store.transactions import Transactions
from poller.tracking.group import Group
from poller.tracking.pacing import DEFAULT_POLICY, Policy


class GroupStore:
    """The groups of one scope: `Store.groups`. Operations join and leave them by registration.

    Every method raises `StoreUnavailable` where the database refuses; nothing of its transaction
    is then written.
    """

    def __init__(self, transactions: Transactions, now: Callable[[], datetime]) -> None:
        self._write = transactions.write
        self._read = transactions.read
        self._browse = transactions.browse
        self._now = now

    async def seal(
        self,
        name: str,
        expected: int | None,
        *,
        policy: Policy = DEFAULT_POLICY,
    ) -> GroupChange:
        """Seal a group now; with `expected`, which may create it, when it has that many members.

        :raises UnknownGroup: without `expected`, where there is no such group.
        :raises Conflict: where it has no member, or `expected` contradicts these or an old seal.
        """
        return await self._write(
            rows.seal_group,
            name,
            expected,
            policy=policy,
            now=self._now(),
        )

    async def record_due(self, *, policy: Policy) -> list[GroupChange]:
        """Record the held-back progress of groups that is due."""
        names = await self._read(rows.due_groups, self._now())
        if not names:
            return []
        return await self._write(
            rows.record_groups,
            names,
            policy=policy,
            now=self._now(),
        )

    async def list(
        self, wanted: GroupFilter, *, limit: int, before: str | None = None
    ) -> GroupListing:
        """List groups, the newest first; `before` is the cursor of a page."""
        return await self._browse(reports.list_groups, wanted, limit=limit, before=before)

    async def find(self, name: str, *, latest: int) -> GroupDetail | None:
        """Find one group and the `latest` of its events; None where it is not known."""
        return await self._browse(reports.find_group, name, latest=latest)

    async def count(self) -> Mapping[GroupState, int]:
        """Count the groups in each state."""
        return await self._browse(reports.count_groups)

    async def unsealed(self, before: datetime, *, limit: int) -> Sequence[Group]:
        """List open groups whose members had all ended before that moment, the oldest first."""
        return await self._browse(reports.unsealed_groups, before, limit=limit)
