"""Chooses the feed of `poller watch`: a running daemon, the API, or both."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Final

import anyio
import structlog

from poller.build import configuration, make_client
from poller.cli.session import Target
from poller.cli.watch.followed import Followed
from poller.cli.watch.follower import Follower, is_followed
from poller.cli.watch.news import Feed
from poller.cli.watch.scratch import ScratchDaemon
from poller.clock import wall_clock
from poller.comms.kinds import DEFAULT_KIND
from poller.control.client import ControlClient
from poller.control.errors import ControlError, UnknownOperation, WrongKind
from poller.settings import Settings, SettingsLoader
from poller.tracking.pacing import Policy
from poller.tracking.watch import AccountScope, Watch

log = structlog.get_logger()

_MAX_REQUESTS: Final = 8
"""How many documents are requested from the daemon at the same time."""
_SHORTEST: Final = 2.0
_LONGEST: Final = 5.0
_SHARE: Final = 0.5
"""The share of the request rate for polls of the live view."""


@asynccontextmanager
async def open_feed(
    settings: Settings,
    loader: SettingsLoader,
    target: Target,
    watches: Sequence[Watch],
    *,
    live: bool,
) -> AsyncIterator[Feed]:
    """Follow what the running daemon watches, and poll the API for the rest; more often if `live`.

    :raises SettingsError: where the API must be polled and there are no credentials.
    :raises BadAddress: where `--url` or POLLER_URL cannot be used.
    :raises WrongKind: where the daemon watches one as another kind.
    """
    async with AsyncExitStack() as stack:
        client = await _daemon(stack, settings, target)
        known = {} if client is None else await _known(client, watches)
        if client is None or not known:
            polling = await _polling(stack, settings, loader, live=len(watches) if live else None)
            polling.take(watches)
            polling.finish()
            yield polling
            return
        others = [watch for watch in watches if watch.id not in known]
        can_poll = others or settings.api.credentials is not None
        often = len(watches) if live else None
        reserve = await _polling(stack, settings, loader, live=often) if can_poll else None
        log.info(
            "watch.following", address=str(client.address), operations=len(known), own=len(others)
        )
        yield Follower(
            known,
            others,
            client=client,
            polling=reserve,
            scope=AccountScope(account=settings.account, base_url=settings.api.base_url),
            settle=settings.polling.settle,
            now=wall_clock,
        )


async def _daemon(
    stack: AsyncExitStack, settings: Settings, target: Target
) -> ControlClient | None:
    """Return a client of the running daemon; None where none answers."""
    named = target.named()
    address = named or target.likely(settings.server)
    if address is None:
        return None
    client = await stack.enter_async_context(ControlClient(address, token=settings.server.token))
    if await client.answers():
        return client
    if named:
        hint = "the API is polled instead"
        log.warning("watch.no_daemon", address=str(address), hint=hint)
    return None


async def _known(client: ControlClient, watches: Sequence[Watch]) -> dict[str, Followed]:
    """Return those that the daemon watches, with the state of its documents.

    :raises WrongKind: where the command line names another kind for one.
    """
    known: dict[str, Followed] = {}
    wrong: list[WrongKind] = []
    room = anyio.Semaphore(_MAX_REQUESTS)

    async def read(watch: Watch) -> None:
        async with room:
            try:
                document = await client.operation(watch.id, events=0)
            except ControlError as error:
                if not isinstance(error, UnknownOperation):
                    log.warning("watch.trouble", error=str(error))
                return
        # the default kind may not have been given on the command line
        if watch.kind not in {document["kind"], DEFAULT_KIND.name}:
            wrong.append(WrongKind(watch.id, requested=watch.kind, known=document["kind"]))
        elif is_followed(document):
            known[watch.id] = Followed(watch=watch).after_document(document)

    async with anyio.create_task_group() as tasks:
        for watch in watches:
            tasks.start_soon(read, watch)
    if wrong:
        raise wrong[0]
    return {watch.id: known[watch.id] for watch in watches if watch.id in known}


def live_policy(policy: Policy, settings: Settings, number: int) -> Policy:
    """Poll `number` watches every 2 to 5 seconds, if half of the request rate suffices for that.

    Intervals that are set explicitly stay as they are.
    """
    if settings.polling.model_fields_set & {"min_interval", "max_interval"}:
        return policy
    shortest = max(_SHORTEST, number / (settings.api.requests_per_second * _SHARE))
    if shortest > _LONGEST:
        return policy
    return replace(policy, min_interval=shortest, max_interval=_LONGEST)


async def _polling(
    stack: AsyncExitStack, settings: Settings, loader: SettingsLoader, *, live: int | None
) -> ScratchDaemon:
    """Make the daemon that polls the API; `live` is the number of watches of the live view.

    :raises SettingsError: where there are no credentials.
    """
    client = await stack.enter_async_context(make_client(settings))
    plan = configuration(settings, loader.credentials)
    return ScratchDaemon(
        client=client,
        configuration=plan,
        policy=None if live is None else live_policy(plan.policy, settings, live),
        now=wall_clock,
    )
