"""`poller run`: the daemon."""

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final

import anyio
import structlog
from anyio.abc import TaskGroup

from poller import __version__
from poller.cli.failures import EXIT_TIMEOUT, EXIT_TROUBLE, EXIT_UNFINISHED
from poller.cli.logs import configure_logs
from poller.cli.measuring import Page, measuring
from poller.cli.notify import Notifier
from poller.cli.stdin import read_lines, read_registration
from poller.cli.wiring import Source, configuration, listening, make_client, make_throttle
from poller.engine.clock import wall_clock
from poller.engine.daemon import Daemon, Stop
from poller.http.route import EgressError
from poller.server.listening import Listening
from poller.settings import Settings, SettingsError, WebhookSink
from poller.sinks.base import SinkUnavailable
from poller.store.errors import StoreError
from poller.store.store import Store
from poller.tracking.registration import BadRegistration, Defaults, Registration

__all__ = ["Job", "run_daemon"]

log = structlog.get_logger()

_STDIN: Final = 0
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What the command line asks of a daemon. `timeout` is in seconds."""

    wishes: Sequence[Registration]
    stdin: bool
    until_idle: bool
    timeout: float | None
    defaults: Defaults


def run_daemon(source: Source, job: Job) -> int:
    """Run a daemon to its end; returns the exit code.

    :raises SettingsError: where the settings cannot be used.
    :raises StoreError: where the store cannot be used.
    :raises SinkUnavailable: where a sink cannot be started.
    :raises ListenError: where the control API cannot listen.
    """
    settings = source.load().settings
    settings.api.require_credentials()
    configure_logs(level=settings.log.level, form=settings.log.format)
    return anyio.run(_run, settings, source, job, backend_options={"use_uvloop": _has_uvloop()})


async def _run(settings: Settings, source: Source, job: Job) -> int:
    plan = configuration(settings, source)
    measured = measuring(listening(settings))
    async with AsyncExitStack() as stack:
        url = settings.store.url.get_secret_value()
        store = await Store.open(url, plan.scope, now=wall_clock, timed=measured.meter.transacted)
        stack.push_async_callback(store.aclose)
        client = await stack.enter_async_context(make_client(settings))
        throttle = make_throttle(settings, await store.pause())
        daemon = Daemon(
            store=store,
            client=client,
            throttle=throttle,
            configuration=plan,
            now=wall_clock,
            until_idle=job.until_idle,
            meter=measured.meter,
        )
        page = None if measured.page is None else measured.page(daemon, store, throttle)
        await daemon.register(job.wishes, all_or_none=True)
        await daemon.open()
        await _announce(settings, store)
        return await _serve(daemon, store, settings, source, job, page)


async def _serve(
    daemon: Daemon,
    store: Store,
    settings: Settings,
    source: Source,
    job: Job,
    page: Page | None,
) -> int:
    timed_out = False
    notifier = Notifier.from_environment(os.environ)
    notifier.follow(daemon.heartbeats)

    async def time_out(seconds: float) -> None:
        nonlocal timed_out
        await anyio.sleep(seconds)
        timed_out = True
        daemon.stop()

    async with anyio.create_task_group() as helpers:
        await helpers.start(_obey_signals, daemon, settings, source, helpers, notifier)
        await _open_door(helpers, daemon, store, listening(settings), page)
        helpers.start_soon(notifier.narrate, daemon)
        if job.stdin:
            helpers.start_soon(_read_stdin, daemon, job)
        else:
            daemon.registered_all()
        if job.timeout is not None:
            helpers.start_soon(time_out, job.timeout)
        await daemon.run()
        notifier.stopping()
        helpers.cancel_scope.cancel()
    return EXIT_TIMEOUT if timed_out else await _exit_code(daemon)


async def _open_door(
    tasks: TaskGroup, daemon: Daemon, store: Store, places: Listening, page: Page | None
) -> None:
    """Start the control API, where one is wanted: only then its server is imported."""
    if places.is_anywhere:
        from poller.server.serving import serve  # noqa: PLC0415 - not all want it

        await tasks.start(partial(serve, daemon, store, places, version=__version__, metrics=page))


async def _exit_code(daemon: Daemon) -> int:
    match daemon.reason:
        case Stop.ASKED:
            return 0
        case Stop.IDLE:
            standing = await daemon.standing()
            if standing.is_clean:
                return 0
            log.error(
                "daemon.unfinished",
                lost=standing.lost,
                dead_letters=standing.dead,
                undeliverable=standing.stuck,
            )
            return EXIT_UNFINISHED
        case Stop.REFUSED | Stop.NO_SINK:
            return EXIT_TROUBLE


async def _announce(settings: Settings, store: Store) -> None:
    if store.migrated_from:
        log.info("store.migrated", from_schema=store.migrated_from)
    log.info(
        "daemon.started",
        version=__version__,
        pid=os.getpid(),
        account=settings.account,
        base_url=settings.api.base_url,
        store=str(settings.store.url),
        sinks=sorted(settings.sinks),
    )
    if foreign := await store.foreign_operations():
        log.warning(
            "store.foreign_operations",
            waiting=foreign,
            hint="they belong to another account or base_url and wait for its daemon",
        )
    for name, sink in settings.sinks.items():
        if isinstance(sink, WebhookSink) and sink.secret is None:
            log.warning(
                "sink.unsigned",
                sink=name,
                hint=f"anybody can forge events; set POLLER_SINKS__{name.upper()}__SECRET",
            )


async def _obey_signals(
    daemon: Daemon,
    settings: Settings,
    source: Source,
    tasks: TaskGroup,
    notifier: Notifier,
    *,
    task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Stop on SIGTERM and SIGINT, at once on the second; reload on SIGHUP."""
    asked = False
    with anyio.open_signal_receiver(*_SIGNALS) as received:
        task_status.started()
        async for number in received:
            if number == signal.SIGHUP:
                with notifier.reloading():
                    await _reload(daemon, settings, source)
            elif asked:
                log.warning("daemon.interrupted", hint="what was under way is done next time")
                tasks.cancel_scope.cancel()
            else:
                asked = True
                notifier.stopping()
                daemon.stop()


async def _reload(daemon: Daemon, settings: Settings, source: Source) -> None:
    try:
        fresh = (await anyio.to_thread.run_sync(source.load)).settings
        plan = configuration(fresh, source)
        home = (settings.account, settings.api.base_url)
        if (fresh.account, fresh.api.base_url) != home:
            log.error(
                "daemon.reload_refused",
                error="api.account_sid or api.base_url changed",
                hint="restart the daemon to serve another account; the old settings stay in force",
            )
            return
        fresh.api.require_credentials()
        await daemon.reload(plan)
    except (SettingsError, EgressError, SinkUnavailable, StoreError) as error:
        log.error("daemon.reload_refused", error=str(error), hint="the old settings stay in force")
    else:
        configure_logs(level=fresh.log.level, form=fresh.log.format)
        log.info("daemon.reloaded", sinks=sorted(fresh.sinks))


async def _read_stdin(daemon: Daemon, job: Job) -> None:
    async for lines in read_lines(_STDIN):
        wishes = []
        for number, line in lines:
            try:
                wishes.append(read_registration(line, job.defaults))
            except BadRegistration as error:
                log.warning("stdin.skipped", line=number, error=str(error))
        await _register_patiently(daemon, wishes)
    daemon.registered_all()


async def _register_patiently(daemon: Daemon, wishes: Sequence[Registration]) -> None:
    """Register what was read; a store that refuses for a while loses none of it."""
    while wishes:
        try:
            await daemon.register(wishes)
        except StoreError as error:
            log.error("store.unavailable", error=str(error), loop="stdin")
            await anyio.sleep(1)
        else:
            return


def _has_uvloop() -> bool:
    if sys.platform == "win32":
        return False
    from importlib.util import find_spec  # noqa: PLC0415 - one use, one command

    return find_spec("uvloop") is not None
