"""`poller run`: the daemon."""

import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import TypeVar

import anyio
import structlog
from anyio.abc import TaskGroup
from pydantic import SecretStr

from poller import __version__
from poller.cli.failures import EXIT_TIMEOUT, EXIT_TROUBLE, EXIT_UNFINISHED
from poller.cli.logs import configure_logs
from poller.cli.measuring import Measuring, Page, measuring
from poller.cli.notify import Notifier
from poller.cli.reload import Reloader, warn_unsigned
from poller.cli.run_stdin import StandardInput
from poller.cli.signals import Signals, hold_signals
from poller.cli.wiring import Source, configuration, listening, make_client, make_throttle
from poller.engine.clock import wall_clock
from poller.engine.daemon import Daemon, Stop
from poller.settings import Settings
from poller.store.store import Store
from poller.tracking.registration import Defaults, Registration

__all__ = ["Job", "run_daemon"]

log = structlog.get_logger()

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What the command line asks of a daemon. `timeout` is in seconds."""

    wishes: Sequence[Registration]
    stdin: bool
    until_idle: bool
    timeout: float | None
    defaults: Defaults


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """A daemon with its store and sinks, ready to run; `page` makes the page of metrics."""

    daemon: Daemon
    store: Store
    page: Page | None


def run_daemon(source: Source, job: Job) -> int:
    """Run a daemon to its end; returns the exit code.

    :raises SettingsError: where the settings cannot be used.
    :raises StoreError: where the store cannot be used.
    :raises SinkUnavailable: where a sink cannot be started.
    :raises ListenError: where the control API cannot listen.
    """
    with hold_signals() as signals:
        settings = source.load().settings
        settings.api.require_credentials()
        configure_logs(level=settings.log.level, form=settings.log.format)
        places = listening(settings)
        measured = measuring(places)
        if places.is_anywhere:
            # before the loop runs, which importing it would hold up
            import_module("poller.server.serving")
        options = {"use_uvloop": _has_uvloop()}
        run = partial(_run, settings, source, job, measured, signals)
        return anyio.run(run, backend_options=options)


async def _run(
    settings: Settings, source: Source, job: Job, measured: Measuring, signals: Signals
) -> int:
    with signals.attached():
        async with AsyncExitStack() as stack:
            opening = partial(_open, stack, settings, source, job, measured)
            if (opened := await _unless_stopped(signals, opening)) is None:
                log.info("daemon.stopped", reason=Stop.ASKED.value, hint="before it had started")
                return 0
            return await _serve(opened, settings, source, job, signals)


async def _unless_stopped(signals: Signals, start: Callable[[], Awaitable[T]]) -> T | None:
    """Return what `start` does, None where SIGTERM or SIGINT came before it was done."""
    started = None
    async with anyio.create_task_group() as tasks:

        async def give_up() -> None:
            await signals.wait_for_stop()
            tasks.cancel_scope.cancel()

        tasks.start_soon(give_up)
        started = await start()
        tasks.cancel_scope.cancel()
    return started


async def _open(
    stack: AsyncExitStack, settings: Settings, source: Source, job: Job, measured: Measuring
) -> _Opened:
    plan = configuration(settings, source)
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
    return _Opened(daemon=daemon, store=store, page=page)


async def _serve(
    opened: _Opened, settings: Settings, source: Source, job: Job, signals: Signals
) -> int:
    daemon = opened.daemon
    stdin = StandardInput(job.defaults)
    notifier = Notifier.from_environment(os.environ)
    notifier.follow(daemon.heartbeats)

    async def time_out(seconds: float) -> None:
        await anyio.sleep(seconds)
        daemon.stop(Stop.TIMEOUT)

    async with anyio.create_task_group() as helpers:
        use_token = await _open_door(helpers, opened, settings)
        reloader = Reloader(daemon, settings, source, use_token)
        await _announce(settings, opened.store)
        helpers.start_soon(_obey_signals, signals, daemon, reloader, helpers, notifier)
        helpers.start_soon(notifier.narrate, daemon)
        if job.stdin:
            helpers.start_soon(stdin.register, daemon)
        else:
            daemon.registered_all()
        if job.timeout is not None:
            helpers.start_soon(time_out, job.timeout)
        await daemon.run()
        notifier.stopping()
        helpers.cancel_scope.cancel()
    return await _exit_code(daemon, refused_lines=stdin.refused)


async def _open_door(
    tasks: TaskGroup, opened: _Opened, settings: Settings
) -> Callable[[SecretStr | None], None]:
    """Start the control API, where one is wanted; returns what makes it ask for another token."""
    places = listening(settings)
    if not places.is_anywhere:
        return lambda _: None
    from poller.server.serving import Bound, serve  # noqa: PLC0415 - not all want it

    door = partial(
        serve, opened.daemon, opened.store, places, version=__version__, metrics=opened.page
    )
    bound: Bound = await tasks.start(door)
    return bound.use_token


async def _exit_code(daemon: Daemon, *, refused_lines: int) -> int:
    match daemon.reason:
        case Stop.ASKED:
            return 0
        case Stop.REFUSED | Stop.NO_SINK:
            return EXIT_TROUBLE
        case Stop.IDLE | Stop.TIMEOUT:
            standing = await daemon.standing()
            timed_out = daemon.reason is Stop.TIMEOUT
            if standing.is_clean and not refused_lines and not timed_out:
                return 0
            log.error(
                "daemon.unfinished",
                reason=daemon.reason.value,
                watched=standing.watched,
                waiting=standing.waiting,
                lost=standing.lost,
                dead_letters=standing.dead,
                undeliverable=standing.stuck,
                refused_lines=refused_lines,
            )
            return EXIT_TIMEOUT if timed_out else EXIT_UNFINISHED


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
    warn_unsigned(settings, only=settings.sinks)


async def _obey_signals(
    signals: Signals, daemon: Daemon, reloader: Reloader, tasks: TaskGroup, notifier: Notifier
) -> None:
    """Stop on SIGTERM and SIGINT, at once on the second; reload on SIGHUP."""
    asked = False
    while True:
        number = await signals.get()
        if number == signal.SIGHUP:
            with notifier.reloading():
                await reloader.reload()
        elif asked:
            log.warning("daemon.interrupted", hint="what was under way is done next time")
            tasks.cancel_scope.cancel()
        else:
            asked = True
            notifier.stopping()
            daemon.stop()


def _has_uvloop() -> bool:
    if sys.platform == "win32":
        return False
    from importlib.util import find_spec  # noqa: PLC0415 - one use, one command

    return find_spec("uvloop") is not None
