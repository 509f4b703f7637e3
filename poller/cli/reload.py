"""SIGHUP: reads the settings again, applies what changed, and logs what happened to each change."""

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Final

import anyio
import structlog
from anyio import to_thread
from pydantic import SecretStr

from poller.addresses import TcpAddress
from poller.build import configuration, hint_access
from poller.cli.appearance import Appearance
from poller.engine.daemon import Daemon
from poller.files import file_version
from poller.http.route import EgressError
from poller.server.serving import Bound
from poller.settings import Settings, SettingsError, SettingsLoader, WebhookSinkSettings
from poller.settings.catalogue import NAMED, SettingPath, dotted, find
from poller.settings.report import values
from poller.settings.sinks import default_sinks
from poller.sinks.base import SinkUnavailable
from poller.store.errors import StoreError

log = structlog.get_logger()

_CHECK_SECONDS: Final = 1.0
_TOKEN: Final = ("server", "token")


class Effect(Enum):
    """What a reload does about a setting that changed."""

    APPLIED = "applied"
    NEEDS_RESTART = "needs_restart"
    """The old value stays in force, and a warning names the setting."""
    REFUSED = "refused"
    """The whole reload is refused: the store belongs to one account at one API."""


def _rows(section: str, names: str, effect: Effect) -> dict[SettingPath, Effect]:
    prefix = tuple(section.split("."))
    return {(*prefix, name): effect for name in names.split()}


ON_RELOAD: Final[Mapping[SettingPath, Effect]] = {
    **_rows("api", "base_url account_sid", Effect.REFUSED),
    **_rows("api", "auth_token api_key api_secret", Effect.APPLIED),
    **_rows("api", "oauth_client_id oauth_client_secret oauth_token_url", Effect.APPLIED),
    **_rows("api", "timeout max_concurrency requests_per_second", Effect.APPLIED),
    **_rows("polling", "min_interval max_interval progress_interval settle", Effect.APPLIED),
    **_rows("polling", "not_found_grace breakdown include_addresses", Effect.APPLIED),
    **_rows("polling", "sweep discover discover_age schedule_checks", Effect.APPLIED),
    **_rows("store", "url", Effect.NEEDS_RESTART),
    **_rows("store", "retention", Effect.APPLIED),
    **_rows("server", "listen socket_mode observe hints", Effect.NEEDS_RESTART),
    **_rows("server", "token public_url hints_user hints_password hints_url", Effect.APPLIED),
    **_rows("engine", "shutdown_grace reload_on_change", Effect.APPLIED),
    **_rows("log", "level format", Effect.APPLIED),
    **_rows("sinks.*", "type format events labels path url secret headers timeout", Effect.APPLIED),
    **_rows("sinks.*", "ca client_cert client_key", Effect.APPLIED),
    **_rows("alerts.*", "of counters ratio count at_least stalled labels", Effect.APPLIED),
}
"""The effect for every setting; `*` stands for the name of a sink or an alert."""


class FileChanges:
    """Finds files that have changed and are no longer being written. Pure."""

    def __init__(self) -> None:
        self._known: Mapping[Path, Hashable] | None = None
        self._last: Mapping[Path, Hashable] = {}

    def accept(self, versions: Mapping[Path, Hashable]) -> None:
        """Remember these versions as known: the files are being read now."""
        self._known = self._last = versions

    def settled(self, versions: Mapping[Path, Hashable]) -> frozenset[Path]:
        """Return the files that changed since the first call, or since the last result.

        `versions` are those of all files now. While they differ from the previous call's, a file
        may still be written, and nothing is returned.
        """
        is_quiet, self._last = versions == self._last, versions
        known = versions if self._known is None else self._known
        if self._known is not None and not is_quiet:
            return frozenset()
        self._known = versions
        return frozenset(
            file for file in {*known, *versions} if known.get(file) != versions.get(file)
        )


class Reloader:
    """Applies settings that changed to a running daemon.

    `settings` are those that it was started with; `bound` changes which credentials the control
    API and the listener of hints require; `appearance` configures standard output and the log.
    """

    def __init__(
        self,
        daemon: Daemon,
        settings: Settings,
        loader: SettingsLoader,
        bound: Bound,
        appearance: Appearance,
    ) -> None:
        self._daemon = daemon
        self._loader = loader
        self._bound = bound
        self._appearance = appearance
        self._started = settings
        self._in_force = settings
        self._changes = FileChanges()

    async def reload(self) -> None:
        """Read the settings and apply what can be applied, all of it or nothing; never raises."""
        try:
            self._changes.accept(await to_thread.run_sync(self._file_versions))
            fresh = (await to_thread.run_sync(self._loader.load)).settings
            fresh.api.require_credentials()
            fresh.require_hint_access()
            if refused := _of(changed_settings(self._in_force, fresh), Effect.REFUSED):
                log.error(
                    "daemon.reload_refused",
                    error=f"changed: {', '.join(_names(refused))}",
                    hint="restart the daemon to serve another account; "
                    "the old settings stay in force",
                )
                return
            line = self._appearance.line
            await self._daemon.reload(configuration(fresh, self._loader.credentials, line=line))
        except (SettingsError, EgressError, SinkUnavailable, StoreError) as error:
            log.error(
                "daemon.reload_refused", error=str(error), hint="the old settings stay in force"
            )
            return
        self._appearance.configure_logs(fresh)
        pending = _of(changed_settings(self._started, fresh), Effect.NEEDS_RESTART)
        if self._may_use(fresh.server.token):
            self._bound.use_access(fresh.server.token, fresh.server.public_url)
        else:
            pending.append(_TOKEN)
        self._bound.use_hint_access(hint_access(fresh))
        self._report(fresh, pending)
        self._in_force = fresh

    async def watch_files(self, changed: Callable[[], None]) -> None:
        """Call `changed` when a file that settings come from has changed, until cancelled.

        Not while `engine.reload_on_change` is off, and not where no configured sink is left: a file
        that was emptied or is half written must not redirect the events. SIGHUP applies it.
        """
        while True:
            try:
                versions = await to_thread.run_sync(self._file_versions)
            except OSError as error:
                log.debug("daemon.files_unreadable", error=str(error))
            else:
                files = self._changes.settled(versions)
                if files and self._in_force.engine.reload_on_change:
                    log.info("daemon.files_changed", files=sorted(map(str, files)))
                    if await to_thread.run_sync(self._loses_sinks):
                        log.error(
                            "daemon.reload_refused",
                            error="the changed files configure no sink any more",
                            hint="the old settings stay in force; if this is intended, send SIGHUP",
                        )
                    else:
                        changed()
            await anyio.sleep(_CHECK_SECONDS)

    def _loses_sinks(self) -> bool:
        """Whether sinks are configured, and the files would leave only the default one."""
        default = default_sinks()
        if self._in_force.sinks == default:
            return False
        try:
            return self._loader.load().settings.sinks == default
        except SettingsError:
            return False  # the reload reports it

    def _file_versions(self) -> dict[Path, Hashable]:
        sinks = self._in_force.sinks.values()
        webhooks = [sink for sink in sinks if isinstance(sink, WebhookSinkSettings)]
        certificates = [file for sink in webhooks for file in sink.pem_files]
        return {file: file_version(file) for file in (*self._loader.files(), *certificates)}

    def _may_use(self, token: SecretStr | None) -> bool:
        """Whether this token suffices for the address in use, which a reload does not change."""
        address = self._started.server.address
        return token is not None or not isinstance(address, TcpAddress) or address.is_loopback

    def _report(self, fresh: Settings, pending: Collection[SettingPath]) -> None:
        changed = changed_settings(self._in_force, fresh)
        applied = [path for path in _of(changed, Effect.APPLIED) if path not in pending]
        sinks = sorted(fresh.sinks)
        if applied:
            log.info("daemon.reloaded", changed=_names(applied), sinks=sinks)
        else:
            hint = "no applicable setting has changed; files were reopened, credentials read again"
            log.info("daemon.reloaded", changed=[], sinks=sinks, hint=hint)
        if pending:
            log.warning(
                "daemon.restart_needed",
                settings=_names(pending),
                hint="the old values stay in force until the daemon is restarted",
            )
        warn_unsigned(fresh, only={path[1] for path in applied if path[0] == "sinks"})


def changed_settings(before: Settings, after: Settings) -> list[SettingPath]:
    """Return the paths of the settings whose values differ.

    A sink or an alert that came or went is one path.
    """
    old, new = dict(values(before)), dict(values(after))
    tables = {
        (section, name)
        for section in NAMED
        for name in getattr(before, section).keys() ^ getattr(after, section).keys()
    }
    paths = [path for path in {**old, **new} if old.get(path) != new.get(path)]
    return [*(path for path in paths if path[:2] not in tables), *sorted(tables)]


def warn_unsigned(settings: Settings, *, only: Collection[str]) -> None:
    """Log a warning for each unsigned webhook for programs among the sinks `only`."""
    for name, sink in settings.sinks.items():
        if name in only and isinstance(sink, WebhookSinkSettings) and sink.is_unsigned:
            log.warning(
                "sink.unsigned",
                sink=name,
                hint=f"anybody can forge events; set POLLER_SINKS__{name.upper()}__SECRET",
            )


def _of(paths: Iterable[SettingPath], effect: Effect) -> list[SettingPath]:
    return [path for path in paths if _effect(path) is effect]


def _effect(path: SettingPath) -> Effect:
    setting = find(path)
    # a sink or alert that was added or removed as a whole has no row
    return Effect.APPLIED if setting is None else ON_RELOAD.get(setting.path, Effect.NEEDS_RESTART)


def _names(paths: Iterable[SettingPath]) -> list[str]:
    return sorted({dotted(path) for path in paths})
