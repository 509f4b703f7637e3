"""The poll loop: a permit first, then the most urgent work, then the request.

In this order a lease is taken only for work that starts at once. What is due is a query, so the
loop remembers nothing but the requests that are under way.
"""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Final

import anyio
import structlog
from anyio.abc import TaskGroup
from anyio.to_thread import run_sync

from poller.comms.client import CommsClient
from poller.comms.errors import CommsError, Forbidden, Throttled, Unauthorized, Unavailable
from poller.comms.gate import Reason
from poller.comms.kinds import KINDS
from poller.comms.throttle import Change, Throttle, Ticket
from poller.engine.configuration import Configuration
from poller.engine.pulse import Pulse
from poller.engine.supervision import attempt, repeat
from poller.engine.translate import answer_of, seen
from poller.store.store import Store
from poller.store.watches import Claim, Lease, Observation
from poller.tracking.answers import Answer, Failed
from poller.tracking.observe import Verdict
from poller.tracking.watch import Watch

__all__ = ["PollLoop"]

log = structlog.get_logger()

# The store is asked again at least this often: clocks jump, and other processes write.
_LOOK_AGAIN: Final = 1.0
# A lease outlasts the request's hard deadline by this much: recording takes its time.
_LEASE_MARGIN: Final = 15.0


class PollLoop:
    """Asks the API about what is due, and hands every answer to the store.

    `recorded` is called after every commit that made events, `refused` for every 401 and 403.
    """

    def __init__(
        self,
        *,
        store: Store,
        client: CommsClient,
        throttle: Throttle,
        configuration: Configuration,
        owner: str,
        now: Callable[[], datetime],
        recorded: Callable[[], None],
        refused: Callable[[CommsError], None],
    ) -> None:
        self.configuration = configuration
        self.pulse = Pulse()
        self.good_answers = 0
        self._store = store
        self._client = client
        self._throttle = throttle
        self._owner = owner
        self._now = now
        self._recorded = recorded
        self._refused = refused
        self._claiming = anyio.CancelScope()

    def stop(self) -> None:
        """Start no request any more; those under way go on to their end."""
        self._claiming.cancel()

    async def run(self) -> None:
        """Poll until `stop`, and until the requests under way have been recorded."""
        async with anyio.create_task_group() as requests:
            with self._claiming:
                await repeat(partial(self._turn, requests), name="poll")

    async def _turn(self, requests: TaskGroup) -> None:
        """Start one request, or wait for something to become due."""
        await self._throttle.admit()
        try:
            claim = await self._claim()
        except BaseException:
            self._throttle.cancel()
            raise
        if not claim.watches:
            self._throttle.cancel()
            await self.pulse.wait(self._until(claim.next_due))
            return
        (watch,) = claim.watches
        if (ticket := self._throttle.begin(watch.kind)) is None:
            await self._store.release([watch.id], self._owner)
        else:
            requests.start_soon(self._look, watch, ticket)

    async def _claim(self) -> Claim:
        kinds = self._throttle.open_kinds(KINDS)
        if not kinds:
            return Claim()
        seconds = self.configuration.request_timeout + _LEASE_MARGIN
        lease = Lease(owner=self._owner, seconds=seconds)
        return await self._store.claim_due(kinds=kinds, limit=1, lease=lease)

    def _until(self, due: datetime | None) -> float:
        if due is None:
            return _LOOK_AGAIN
        return max(0.0, min((due - self._now()).total_seconds(), _LOOK_AGAIN))

    async def _look(self, watch: Watch, ticket: Ticket) -> None:
        """Ask about one operation and record the answer, whatever comes."""
        try:
            observed = await attempt(
                partial(self._observe, watch, ticket), name="poll", operation=watch.id
            )
        finally:
            self._throttle.abandon(ticket)
        if not observed:
            # nothing is lost: where this fails as well, the lease runs out
            failed = Failed(begun_at=ticket.begun_at, arrived_at=self._now())
            await attempt(partial(self._record, watch, failed), name="poll", operation=watch.id)
        # its next look may be nearer than what the loop waits for
        self.pulse.beat()

    async def _observe(self, watch: Watch, ticket: Ticket) -> None:
        if ticket.probe in {Reason.UNAUTHORIZED, Reason.FORBIDDEN}:
            await self._renew_credentials()
        answer = await self._ask(watch, ticket)
        if answer is None:
            # the next probe asks about another operation: this one may be the reason
            await self._store.release([watch.id], self._owner, requeue=True)
        else:
            await self._record(watch, answer)

    async def _ask(self, watch: Watch, ticket: Ticket) -> Answer | None:
        try:
            operation = await self._client.fetch_operation(watch.row, watch.id)
        except CommsError as error:
            await self._note(ticket, self._throttle.finish(ticket, error), error)
            self._log_failure(watch, error)
            return answer_of(error, begun_at=ticket.begun_at, arrived_at=self._now())
        arrived_at = self._now()
        self.good_answers += 1
        await self._note(ticket, self._throttle.finish(ticket, None), None)
        return seen(operation, begun_at=ticket.begun_at, arrived_at=arrived_at)

    async def _record(self, watch: Watch, answer: Answer) -> None:
        observations = await self._store.record(
            [(watch.id, answer)],
            policy=self.configuration.policy,
            subscriptions=self.configuration.subscriptions,
            lease_owner=self._owner,
        )
        for observation in observations:
            self._tell(observation)
        if any(observation.events for observation in observations):
            self._recorded()

    def _tell(self, observation: Observation) -> None:
        status = None if observation.watch is None else observation.watch.status
        bound = log.bind(operation=observation.id, status=status)
        match observation.verdict:
            case Verdict.STALE:
                bound.warning("poll.stale")
            case Verdict.LATE:
                bound.info("poll.late")
            case verdict:
                bound.debug("poll.answered", verdict=verdict.value)
        for recorded in observation.events:
            bound.info(
                "event.recorded",
                event_type=recorded.event.type.value,
                event_id=recorded.id,
                sequence=recorded.event.sequence,
                final=recorded.event.final,
                reason=recorded.event.data["reason"],
            )
            if recorded.event.data["reason"] == "not_found":
                bound.warning(
                    "operation.not_found",
                    kind=observation.watch.kind if observation.watch else None,
                    hint="is it of another kind (--kind), or of another account?",
                )

    def _log_failure(self, watch: Watch, error: CommsError) -> None:
        # a pause is told once, when it begins, and not for every request that runs into it
        if isinstance(error, Throttled | Unavailable | Unauthorized | Forbidden):
            level = log.debug
        else:
            level = log.warning
        level(
            "poll.failed",
            operation=watch.id,
            fault=error.fault.value,
            http_status=error.status,
            error=str(error),
        )

    async def _note(self, ticket: Ticket, change: Change, error: CommsError | None) -> None:
        """Tell and store what an answer did to the pauses."""
        if isinstance(error, Unauthorized | Forbidden):
            self._refused(error)
        if change.kind_changed:
            if change.kind_pause is None:
                log.info("kind.resumed", kind=ticket.kind)
            else:
                log.error("kind.paused", kind=ticket.kind, error=str(error))
        if not change.changed:
            return
        if change.pause is None:
            log.info("account.resumed")
        else:
            seconds = round(change.pause.wait.total_seconds(), 3)
            log.warning(
                "account.paused",
                reason=change.pause.reason.value,
                seconds=seconds,
                error=str(error) if error else None,
            )
        await attempt(partial(self._store.write_pause, change.pause), name="poll")

    async def _renew_credentials(self) -> None:
        try:
            self._client.use(await run_sync(self.configuration.credentials))
        except Exception as error:  # noqa: BLE001 - whatever the settings raise, the old ones stay
            log.warning("credentials.unreadable", error=str(error))
