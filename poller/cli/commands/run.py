"""`poller run`: the daemon."""

import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Annotated, TypeVar

import anyio
import structlog
import typer
from anyio.abc import TaskGroup

from poller import __version__
from poller.build import configuration
from poller.cli.appearance import Appearance
from poller.cli.failures import EXIT_TIMEOUT, EXIT_TROUBLE, EXIT_UNFINISHED
from poller.cli.notify import Notifier
from poller.cli.options import (
    DEFAULT_KIND_NAME,
    Config,
    Group,
    Ids,
    Json,
    KindName,
    Labels,
    Overrides,
    Timeout,
    Version,
    defaults_of,
    registrations,
    timeout_seconds,
)
from poller.cli.reload import Reloader, warn_unsigned
from poller.cli.signals import ProcessSignals, hold_signals
from poller.cli.stderr import dropped_lines
from poller.cli.stdin import StandardInput
from poller.engine.daemon import Daemon, Stop
from poller.engine.supervision import repeat
from poller.opening import STORE_GRACE, OpenedDaemon, open_daemon, open_listeners
from poller.settings import Settings, SettingsLoader
from poller.store.groups import UnknownGroup
from poller.store.store import Store
from poller.tracking.registration import Conflict, Defaults, Registration

log = structlog.get_logger()

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The options of `poller run`. `timeout` is in seconds."""

    registrations: Sequence[Registration]
    stdin: bool
    until_idle: bool
    timeout: float | None
    defaults: Defaults
    json_output: bool
    open_page: bool
    seal: bool


def command(
    ids: Ids = None,
    stdin: Annotated[
        bool, typer.Option("--stdin", help="Also register the lines of standard input.")
    ] = False,
    until_idle: Annotated[
        bool,
        typer.Option("--until-idle", help="Exit once all have ended and all events are delivered."),
    ] = False,
    discover: Annotated[
        bool,
        typer.Option(
            "--discover", help="Also watch operations that were not registered (polling.discover)."
        ),
    ] = False,
    open_page: Annotated[
        bool, typer.Option("--open", help="Open the page of the daemon in a browser.")
    ] = False,
    json_output: Json = False,
    timeout: Timeout = None,
    kind: KindName = DEFAULT_KIND_NAME,
    label: Labels = None,
    group: Group = None,
    seal: Annotated[
        bool,
        typer.Option(
            "--seal",
            help="Seal the --group when the ids, and the lines with --stdin, are registered.",
        ),
    ] = False,
    breakdown: Annotated[
        bool | None,
        typer.Option(
            "--breakdown/--no-breakdown",
            help="After the end, read which messages failed and why (polling.breakdown).",
            show_default=False,
        ),
    ] = None,
    config: Config = None,
    overrides: Overrides = None,
    _version: Version = False,
) -> int:
    """Run the daemon: watch operations and messages, and deliver their events.

    Standard output has a line for each event: for people on a terminal, as JSON elsewhere
    and with --json.

    Each ID, and with --stdin each line (an id, or the JSON of a registration), is registered.
    With --until-idle it exits with 0 where everything ended and was delivered, else with 3,
    and with 4 after --timeout.
    """
    defaults = defaults_of(kind=kind, labels=label, group=group)
    if seal and group is None:
        raise typer.BadParameter("requires --group", param_hint="--seal")
    job = Job(
        registrations=registrations(ids or (), defaults),
        stdin=stdin,
        until_idle=until_idle,
        timeout=timeout_seconds(timeout),
        defaults=defaults,
        json_output=json_output,
        open_page=open_page,
        seal=seal,
    )
    settings = list(overrides or ())
    if discover:
        settings.append("polling.discover=true")
    if breakdown is not None:
        settings.append(f"polling.breakdown={str(breakdown).lower()}")
    return run_daemon(SettingsLoader(config, settings), job)


def run_daemon(loader: SettingsLoader, job: Job) -> int:
    """Run a daemon to its end; returns the exit code.

    :raises SettingsError: where the settings cannot be used.
    :raises StoreError: where the store cannot be used.
    :raises SinkUnavailable: where a sink cannot be started.
    :raises ListenError: where the control API cannot listen.
    """
    with hold_signals() as signals:
        settings = loader.load().settings
        settings.api.require_credentials()
        settings.require_hint_access()
        appearance = Appearance.of_stdout(json_output=job.json_output)
        appearance.configure_logs(settings)
        options = {"use_uvloop": _has_uvloop()}
        run = partial(_run, settings, loader, job, signals, appearance)
        return anyio.run(run, backend_options=options)


async def _run(
    settings: Settings,
    loader: SettingsLoader,
    job: Job,
    signals: ProcessSignals,
    appearance: Appearance,
) -> int:
    with signals.attached():
        async with AsyncExitStack() as stack:
            opening = partial(_open, stack, settings, loader, job, appearance)
            if (opened := await _unless_stopped(signals, opening)) is None:
                log.info("daemon.stopped", reason=Stop.ASKED.value, hint="before it had started")
                return 0
            return await _serve(opened, settings, loader, job, signals, appearance)


async def _unless_stopped(signals: ProcessSignals, start: Callable[[], Awaitable[T]]) -> T | None:
    """Return the result of `start`; None if SIGTERM or SIGINT arrived before it was done."""
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
    stack: AsyncExitStack,
    settings: Settings,
    loader: SettingsLoader,
    job: Job,
    appearance: Appearance,
) -> OpenedDaemon:
    plan = configuration(settings, loader.credentials, line=appearance.line)
    return await open_daemon(
        stack,
        settings,
        plan,
        registrations=job.registrations,
        until_idle=job.until_idle,
        dropped_lines=dropped_lines,
    )


async def _serve(
    opened: OpenedDaemon,
    settings: Settings,
    loader: SettingsLoader,
    job: Job,
    signals: ProcessSignals,
    appearance: Appearance,
) -> int:
    daemon = opened.daemon
    stdin = StandardInput(job.defaults)
    notifier = Notifier.from_environment(os.environ)
    notifier.follow(daemon.heartbeats)

    async def time_out(seconds: float) -> None:
        await anyio.sleep(seconds)
        daemon.stop(Stop.TIMEOUT)

    async with AsyncExitStack() as ending, anyio.create_task_group() as helpers:
        bound = await open_listeners(helpers, opened, settings)
        reloader = Reloader(daemon, settings, loader, bound, appearance)
        await _announce(settings, opened.store)
        helpers.start_soon(partial(appearance.show_page, bound.address, wants_open=job.open_page))
        helpers.start_soon(_obey_signals, signals, daemon, reloader, helpers, notifier)
        helpers.start_soon(reloader.watch_files, partial(signals.handle, signal.SIGHUP))
        helpers.start_soon(notifier.report_status, daemon)
        helpers.start_soon(_register, daemon, stdin, job)
        if job.timeout is not None:
            helpers.start_soon(time_out, job.timeout)
        try:
            await daemon.run()
        finally:
            # a registration that is still being stored must not hold up the shutdown
            ending.enter_context(opened.store.finishing(STORE_GRACE))
        notifier.stopping()
        helpers.cancel_scope.cancel()
    return await _exit_code(daemon, refused_lines=stdin.refused)


async def _register(daemon: Daemon, stdin: StandardInput, job: Job) -> None:
    """Register the lines of standard input, seal the group, and report that no more will come.

    If a line was refused the group is not sealed, so that the corrected line can still be added.
    """
    if job.stdin:
        await stdin.register(daemon)
    group = job.defaults.group
    if job.seal and group is not None:
        if stdin.refused:
            hint = f"correct the lines, add them, then run `poller group seal {group}`"
            log.warning("group.not_sealed", group=group, refused=stdin.refused, hint=hint)
        else:
            # repeated while the store fails, as a registration is
            await repeat(partial(_seal, daemon, group), name="seal")
    daemon.registered_all()


async def _seal(daemon: Daemon, group: str) -> bool:
    try:
        await daemon.seal(group, None)
    except (Conflict, UnknownGroup) as error:
        log.warning("group.not_sealed", group=group, error=str(error))
    return True


async def _exit_code(daemon: Daemon, *, refused_lines: int) -> int:
    match daemon.reason:
        case Stop.ASKED:
            return 0
        case Stop.REFUSED | Stop.NO_SINK:
            return EXIT_TROUBLE
        case Stop.IDLE | Stop.TIMEOUT:
            summary = await daemon.summary()
            timed_out = daemon.reason is Stop.TIMEOUT
            if summary.is_clean and not refused_lines and not timed_out:
                return 0
            log.error(
                "daemon.unfinished",
                reason=daemon.reason.value,
                watched=summary.watched,
                waiting=summary.waiting,
                lost=summary.lost,
                dead_letters=summary.dead,
                undeliverable=summary.stuck,
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
    signals: ProcessSignals,
    daemon: Daemon,
    reloader: Reloader,
    tasks: TaskGroup,
    notifier: Notifier,
) -> None:
    """Stop on SIGTERM and SIGINT, at once on the second; reload on SIGHUP."""
    is_stopping = False
    while True:
        number = await signals.get()
        if number == signal.SIGHUP:
            with notifier.reloading():
                await reloader.reload()
        elif is_stopping:
            log.warning(
                "daemon.interrupted", hint="work that was cancelled is due at the next start"
            )
            tasks.cancel_scope.cancel()
        else:
            is_stopping = True
            notifier.stopping()
            daemon.stop()


def _has_uvloop() -> bool:
    if sys.platform == "win32":
        return False
    return find_spec("uvloop") is not None
