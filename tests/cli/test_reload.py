"""SIGHUP: each setting is applied, or named as one that needs a restart."""

from collections.abc import Callable, MutableMapping
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any, cast

import anyio
import pytest
from anyio import to_thread
from pydantic import SecretStr
from structlog.testing import capture_logs

from poller.build import configuration
from poller.cli import appearance as appearance_module
from poller.cli import reload as reload_module
from poller.cli.appearance import Appearance
from poller.cli.reload import ON_RELOAD, Effect, FileChanges, Reloader
from poller.engine.configuration import Configuration
from poller.engine.daemon import Daemon
from poller.server.hints import HintAccess
from poller.server.serving import NOWHERE, Bound
from poller.settings import Settings, SettingsLoader
from poller.settings.catalogue import SettingPath, catalogue
from tests.cli.surroundings import Surroundings

pytestmark = pytest.mark.anyio

HOOK = {"type": "webhook", "url": "http://127.0.0.1:1/"}
HINTS = '[server]\nhints = "127.0.0.1:0"\nhints_user = "vendor"\nhints_password = "one"\n'
SECRET = "whsec_" + "A" * 43 + "="
CHANGES = {
    "api.timeout": "9s",
    "api.max_concurrency": "3",
    "api.requests_per_second": "2",
    "polling.min_interval": "2s",
    "polling.max_interval": "50s",
    "polling.progress_interval": "9s",
    "polling.settle": "9s",
    "polling.not_found_grace": "9s",
    "polling.breakdown": "true",
    "polling.include_addresses": "full",
    "polling.sweep": "off",
    "polling.discover": "true",
    "polling.schedule_checks": "9m",
    "store.retention": "1d",
    "engine.shutdown_grace": "9s",
    "sinks.out.type": "stdout",
    "alerts.quiet.stalled": "9m",
}
"""A value of its own for what a daemon is given as its `Configuration`."""
ELSEWHERE = {
    # with the credentials, which are read again; with the control API and the logs; by the sinks
    *("api.auth_token", "api.api_key", "api.api_secret", "server.token", "log.level", "log.format"),
    *("api.oauth_client_id", "api.oauth_client_secret", "api.oauth_token_url"),
    # with the listener of hints
    *("server.hints_user", "server.hints_password", "server.hints_url"),
    # by who watches the files
    "engine.reload_on_change",
    # needs polling.discover as well
    "polling.discover_age",
    # reaches only the sinks whose messages link to it
    "server.public_url",
}


class Reloads:
    """A daemon that only remembers what it was given, and a control API that does as well."""

    def __init__(self, directory: FilePath) -> None:
        self.file = directory / "poller.toml"
        self.given: list[Configuration] = []
        self.tokens: list[str | None] = []
        self.hint_access: list[HintAccess] = []

    async def start(self, text: str = "") -> None:
        """Start with this file."""
        self.file.write_text(text)
        source = SettingsLoader(self.file, [])
        settings = (await to_thread.run_sync(source.load)).settings
        self._reloader = Reloader(
            cast("Daemon", self), settings, source, self._bound(), Appearance()
        )

    async def watch_files(self, changed: Callable[[], None]) -> None:
        """Watch as the daemon does."""
        await self._reloader.watch_files(changed)

    async def change_to(self, text: str) -> list[MutableMapping[str, Any]]:
        """Reload with this file; the log lines of it."""
        self.file.write_text(text)
        with capture_logs() as logs:
            await self._reloader.reload()
        return logs

    async def reload(self, given: Configuration) -> None:
        """Stand in for the daemon's."""
        self.given.append(given)

    def _bound(self) -> Bound:
        return replace(
            NOWHERE, use_access=self._use_access, use_hint_access=self.hint_access.append
        )

    def _use_access(self, token: SecretStr | None, _public_url: str) -> None:
        self.tokens.append(None if token is None else token.get_secret_value())


@pytest.fixture
def reloads(here: Surroundings, tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> Reloads:
    """Give a daemon to reload, with credentials; the logs stay those of the tests."""
    here.set(TWILIO_ACCOUNT_SID="AC1", TWILIO_AUTH_TOKEN="t")
    monkeypatch.setattr(appearance_module, "configure_logs", lambda **_: None)
    return Reloads(tmp_path)


def comparable(settings: Settings) -> object:
    """Return all of a configuration that can be compared."""
    given = configuration(settings, SettingsLoader(None, []).credentials)
    sinks = [(plan.key, plan.subscription) for plan in given.sinks]
    names = ("policy", "retention", "shutdown_grace", "request_timeout", "sweep", "discover_age")
    values = [getattr(given, name) for name in (*names, "max_concurrency", "requests_per_second")]
    return [*values, sinks]


def name(path: SettingPath) -> str:
    """Write a path of the catalogue."""
    return ".".join(path)


def test_every_setting_is_accounted_for() -> None:
    """A new setting is applied by a reload, or is named as one that is not."""
    assert set(ON_RELOAD) == {setting.path for setting in catalogue()}


def test_what_is_said_to_be_applied_reaches_the_daemon(here: Surroundings) -> None:
    """Each setting that counts as applied changes what the daemon is given."""
    here.set(TWILIO_ACCOUNT_SID="AC1", TWILIO_AUTH_TOKEN="t")
    before = comparable(SettingsLoader(None, []).load().settings)
    for key, value in CHANGES.items():
        assert comparable(SettingsLoader(None, [f"{key}={value}"]).load().settings) != before, key
    applied = {name(path) for path, effect in ON_RELOAD.items() if effect is Effect.APPLIED}
    left = {
        key
        for key in applied - ELSEWHERE - CHANGES.keys()
        if not key.startswith(("sinks.*", "alerts.*"))
    }
    assert left == set()


def test_another_public_url_makes_the_channels_for_people_again(here: Surroundings) -> None:
    """Their messages link to it; every other sink stays as it is."""
    here.set(
        TWILIO_ACCOUNT_SID="AC1",
        TWILIO_AUTH_TOKEN="t",
        POLLER_SINKS='{"app": {"type": "webhook", "url": "http://h"}, '
        '"team": {"type": "webhook", "url": "http://h", "format": "slack"}}',
    )
    keys = [
        {plan.name: plan.key for plan in configuration(loaded.settings, loader.credentials).sinks}
        for url in ("", "http://a.example")
        for loader in [SettingsLoader(None, [f"server.public_url={url}"])]
        for loaded in [loader.load()]
    ]
    assert keys[0]["app"] == keys[1]["app"]
    assert keys[0]["team"] != keys[1]["team"]


async def test_what_needs_a_restart_is_named_until_then(reloads: Reloads) -> None:
    """Also at the next reload, which changes nothing more; what can be applied is."""
    await reloads.start()
    changed = (
        '[store]\nurl = "sqlite:///other.db"\n[engine]\nshutdown_grace = "9s"\n'
        '[server]\nlisten = "127.0.0.1:1"\nobserve = "127.0.0.1:2"\nsocket_mode = "0660"\n'
    )
    done, warning = await reloads.change_to(changed)
    assert (done["event"], done["changed"]) == ("daemon.reloaded", ["engine.shutdown_grace"])
    assert (warning["event"], warning["log_level"]) == ("daemon.restart_needed", "warning")
    expected = ["server.listen", "server.observe", "server.socket_mode", "store.url"]
    assert warning["settings"] == expected
    assert reloads.given[-1].shutdown_grace == 9
    done, warning = await reloads.change_to(changed)
    assert (done["changed"], "no applicable setting" in done["hint"]) == ([], True)
    assert warning["settings"] == expected
    (done,) = await reloads.change_to("")
    assert done["changed"] == ["engine.shutdown_grace"]


async def test_the_credentials_of_hints_are_swapped(reloads: Reloads) -> None:
    """The listener stays where it is; without any the old ones stay as well."""
    await reloads.start(HINTS)
    await reloads.change_to(HINTS.replace("one", "two"))
    [access] = reloads.hint_access
    assert access.user == "vendor"
    assert access.password is not None
    assert access.password.get_secret_value() == "two"
    [refused] = await reloads.change_to('[server]\nhints = "127.0.0.1:0"\n')
    assert refused["event"] == "daemon.reload_refused"
    assert "server.hints" in refused["error"]
    assert len(reloads.hint_access) == 1


def test_what_a_signal_has_applied_is_not_applied_again() -> None:
    """Who writes a file and sends SIGHUP gets one reload."""
    changes = FileChanges()
    file = FilePath("one")
    changes.settled({file: 1})
    changes.settled({file: 2})
    changes.accept({file: 2})
    assert [changes.settled({file: 2}) for _ in range(3)] == [frozenset()] * 3


def test_a_file_has_changed_when_it_is_no_longer_written() -> None:
    """Half a file is not read; one that came or went has changed as well."""
    one, other = FilePath("one"), FilePath("other")
    changes = FileChanges()
    looks = [{one: 1}, {one: 1}, {one: 2}, {one: 3}, {one: 3}, {one: 3}]
    looks += [{one: 3, other: 1}, {one: 3, other: 1}, {}, {}, {}]
    assert [set(changes.settled(look)) for look in looks] == [
        *(set(), set(), set(), set(), {one}, set()),
        *(set(), {other}, set(), {one, other}, set()),
    ]


async def test_rotated_secrets_are_noticed(
    reloads: Reloads, here: Surroundings, tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The secrets as Kubernetes mounts them: behind a link that is turned. And where it is off."""
    monkeypatch.setattr(reload_module, "_CHECK_SECONDS", 0.01)
    secrets = tmp_path / "secrets"
    for version in ("old", "new"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "twilio_auth_token").write_text(version)
    secrets.symlink_to(tmp_path / "old")
    here.set(POLLER_SECRETS_DIR=str(secrets))
    await reloads.start()
    noticed: list[str] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reloads.watch_files, lambda: noticed.append("changed"))
        await anyio.sleep(0.1)
        assert noticed == []
        (tmp_path / "link").symlink_to(tmp_path / "new")
        (tmp_path / "link").rename(secrets)
        with anyio.fail_after(5):
            while not noticed:  # noqa: ASYNC110 - it looks at files
                await anyio.sleep(0.01)
        await reloads.change_to("[engine]\nreload_on_change = false\n")
        await anyio.sleep(0.1)
        noticed.clear()
        (secrets / "twilio_auth_token").write_text("newer still")
        await anyio.sleep(0.2)
        assert noticed == []
        tasks.cancel_scope.cancel()


async def test_files_that_leave_no_sink_are_applied_by_a_signal_only(
    reloads: Reloads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Emptied for a moment by a failed deployment, a file must not redirect the events."""
    monkeypatch.setattr(reload_module, "_CHECK_SECONDS", 0.01)
    archive = '[sinks.archive]\ntype = "file"\npath = "events.ndjson"\n'
    await reloads.start(archive)
    noticed: list[str] = []

    def refused(logs: list[MutableMapping[str, Any]]) -> bool:
        return any(line["event"] == "daemon.reload_refused" for line in logs)

    async with anyio.create_task_group() as tasks:
        with capture_logs() as logs, anyio.fail_after(5):
            tasks.start_soon(reloads.watch_files, lambda: noticed.append("changed"))
            await anyio.sleep(0.1)
            reloads.file.write_text("")
            while not refused(logs):  # noqa: ASYNC110 - it looks at files
                await anyio.sleep(0.01)
            assert noticed == []
            reloads.file.write_text(archive)
            while not noticed:  # noqa: ASYNC110 - as above
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    (line,) = await reloads.change_to("")
    assert (line["event"], line["sinks"]) == ("daemon.reloaded", ["stdout"])


async def test_a_reload_that_changes_nothing_says_so(reloads: Reloads) -> None:
    """Files are reopened and credentials read again all the same."""
    await reloads.start()
    (line,) = await reloads.change_to("")
    assert (line["event"], line["changed"]) == ("daemon.reloaded", [])
    assert "no applicable setting has changed" in line["hint"]
    assert len(reloads.given) == 1


async def test_a_token_is_asked_for_from_then_on(reloads: Reloads) -> None:
    """Added, changed and removed; the value is not logged."""
    await reloads.start()
    (line,) = await reloads.change_to('[server]\ntoken = "one"')
    assert line["changed"] == ["server.token"]
    assert "one" not in str(line).split()
    await reloads.change_to('[server]\ntoken = "two"')
    await reloads.change_to("")
    assert reloads.tokens == ["one", "two", None]


async def test_an_address_that_others_reach_keeps_its_token(reloads: Reloads) -> None:
    """Moving to loopback needs a restart; until then the old address must not lie open."""
    await reloads.start('[server]\nlisten = "0.0.0.0:8470"\ntoken = "one"')
    done, warning = await reloads.change_to("")
    assert reloads.tokens == []
    assert done["changed"] == []
    assert warning["settings"] == ["server.listen", "server.token"]


async def test_a_secret_that_goes_is_warned_of(reloads: Reloads) -> None:
    """From then on posts go unsigned; once said, it is not said again at each reload."""
    url = '[sinks.app]\ntype = "webhook"\nurl = "http://127.0.0.1:1/"\n'
    await reloads.start(f'{url}secret = "{SECRET}"')
    done, warning = await reloads.change_to(url)
    assert done["changed"] == ["sinks.app.secret"]
    assert (warning["event"], warning["sink"]) == ("sink.unsigned", "app")
    assert len(await reloads.change_to(url)) == 1
    done, warning = await reloads.change_to(url.replace("app", "other"))
    assert done["changed"] == ["sinks.app", "sinks.other"]
    assert (warning["event"], warning["sink"]) == ("sink.unsigned", "other")


async def test_another_account_is_refused_by_name(reloads: Reloads) -> None:
    """The store belongs to one account at one API."""
    await reloads.start()
    (line,) = await reloads.change_to('[api]\nbase_url = "http://127.0.0.1:1/v1"')
    assert line["event"] == "daemon.reload_refused"
    assert "api.base_url" in line["error"]
    assert reloads.given == []
