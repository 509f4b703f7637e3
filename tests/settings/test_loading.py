"""Loading: the order of the sources, how they mix, and that no input ends in another exception."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.settings import (
    FileSinkSettings,
    Loaded,
    SettingsError,
    StdoutSinkSettings,
    WebhookSinkSettings,
    describe,
    load_settings,
)
from poller.settings.catalogue import catalogue

Load = Callable[..., Loaded]
SECRET = "whsec_" + "QUJD" * 8
TOML = '[polling]\nmax_interval = "11s"\n[api]\nauth_token = "from-toml"\n'


def test_defaults_are_the_documented_ones(load: Load) -> None:
    """With no source at all, every setting has its default and says so."""
    loaded = load()
    assert set(loaded.origins.values()) == {"default"}
    assert loaded.settings.store.url.get_secret_value() == "sqlite:///poller.db"
    assert loaded.settings.sinks == {"stdout": StdoutSinkSettings()}
    assert loaded.settings.account == "default"


def test_each_source_beats_the_next(load: Load) -> None:
    """Command line, variables, secret files, TOML, defaults: in this order."""
    name = "polling.max_interval"
    env = {"POLLER_POLLING__MAX_INTERVAL": "13s"}
    secrets = {"poller_polling__max_interval": "12s\n"}
    steps = [
        (load(TOML, overrides=[f"{name}=14s"], env=env, secrets=secrets), 14.0, "--set"),
        (
            load(TOML, env=env, secrets=secrets),
            13.0,
            "environment variable POLLER_POLLING__MAX_INTERVAL",
        ),
        (load(TOML, secrets=secrets), 12.0, "secret file secrets/poller_polling__max_interval"),
    ]
    Path("secrets/poller_polling__max_interval").unlink()
    steps += [(load(TOML), 11.0, "file poller.toml"), (load(), 60.0, "default")]
    for loaded, seconds, origin in steps:
        assert (loaded.settings.polling.max_interval, loaded.origins[name]) == (seconds, origin)


@pytest.mark.parametrize(
    ("env", "secrets", "token", "origin"),
    [
        ({}, {}, "from-toml", "file poller.toml"),
        ({}, {"twilio_auth_token": "v"}, "v", "secret file secrets/twilio_auth_token"),
        (
            {"TWILIO_AUTH_TOKEN": "e"},
            {"twilio_auth_token": "v"},
            "e",
            "environment variable TWILIO_AUTH_TOKEN",
        ),
        (
            {"TWILIO_AUTH_TOKEN": "e"},
            {"poller_api__auth_token": "p"},
            "p",
            "secret file secrets/poller_api__auth_token",
        ),
        (
            {"TWILIO_AUTH_TOKEN": "e", "POLLER_API__AUTH_TOKEN": "o"},
            {"poller_api__auth_token": "p"},
            "o",
            "environment variable POLLER_API__AUTH_TOKEN",
        ),
        (
            {"TWILIO_AUTH_TOKEN": "e", "POLLER_API__AUTH_TOKEN": " "},
            {},
            "e",
            "environment variable TWILIO_AUTH_TOKEN",
        ),
        ({"TWILIO_AUTH_TOKEN": ""}, {}, "from-toml", "file poller.toml"),
    ],
)
def test_our_names_beat_the_vendors_and_empty_is_unset(
    load: Load, env: dict[str, str], secrets: dict[str, str], token: str, origin: str
) -> None:
    """A `POLLER_API__…` name beats the vendor's wherever it stands; an empty one counts as none."""
    loaded = load(TOML, env=env, secrets=secrets)
    assert loaded.settings.api.auth_token is not None
    assert loaded.settings.api.auth_token.get_secret_value() == token
    assert loaded.origins["api.auth_token"] == origin


def test_a_sink_may_come_from_many_sources(load: Load) -> None:
    """The URL from the file, the secret from its own file, a header from a variable: one sink."""
    loaded = load(
        '[sinks.app]\ntype = "webhook"\nurl = "https://h/x"\nheaders = {X-A = "1", X-B = "2"}\n',
        env={"POLLER_SINKS__APP__HEADERS__X-B": "3"},
        secrets={"poller_sinks__app__secret": f"{SECRET}\n"},
    )
    sink = loaded.settings.sinks["app"]
    assert isinstance(sink, WebhookSinkSettings)
    assert sink.signing_keys == (b"ABC" * 8,)
    assert {k: v.get_secret_value() for k, v in sink.headers.items()} == {"x-a": "1", "x-b": "3"}
    assert loaded.origins["sinks.app.url"] == "file poller.toml"
    assert loaded.origins["sinks.app.secret"] == "secret file secrets/poller_sinks__app__secret"
    assert loaded.origins["sinks.app.headers.x-a"] == "file poller.toml"
    assert (
        loaded.origins["sinks.app.headers.x-b"]
        == "environment variable POLLER_SINKS__APP__HEADERS__X-B"
    )


def test_the_more_specific_variable_wins(load: Load) -> None:
    """`POLLER_SINKS` and single values in it merge, whatever the order of their names."""
    env = {
        "POLLER_SINKS__OUT__EVENTS": "final, operation.lost",
        "POLLER_SINKS": '{"out": {"type": "file", "path": "a", "events": ["*"]}}',
        "POLLER_SINKS__OUT": '{"path": "b", "labels": {"Team": "x"}}',
    }
    expected = FileSinkSettings(
        path=Path("b"), events=("final", "operation.lost"), labels={"Team": "x"}
    )
    assert load(env=env).settings.sinks == {"out": expected}
    assert load(env=dict(reversed(env.items()))).settings.sinks == {"out": expected}


@pytest.mark.parametrize(
    "override",
    [
        "sinks.out={type = 'stdout', events = ['final']}",
        'sinks.out={"type": "stdout", "events": ["final"]}',
        'sinks={"out": {"type": "stdout", "events": ["final"]}}',
    ],
)
def test_set_takes_tables_as_json_and_toml(load: Load, override: str) -> None:
    """`--set` takes a whole table in either language."""
    assert load(overrides=[override]).settings.sinks == {
        "out": StdoutSinkSettings(events=("final",))
    }


def test_set_takes_plain_and_quoted_text_and_the_last_wins(load: Load) -> None:
    """Text needs no quotes but may have them; a later `--set` replaces an earlier one."""
    loaded = load(
        overrides=[
            "log.level=debug",
            'log.format="json"',
            "polling.discover=true",
            "polling.settle = 5",
            "polling.settle=6s",
            "server.listen=",
        ]
    )
    assert (loaded.settings.log.level, loaded.settings.log.format) == ("debug", "json")
    assert loaded.settings.polling.discover is True
    assert loaded.settings.polling.settle == 6.0
    assert loaded.settings.server.address is None


def test_names_of_variables_know_no_case(load: Load) -> None:
    """`poller_log__level` is `POLLER_LOG__LEVEL`, and values of enumerations may be upper-case."""
    assert load(env={"poller_log__level": "WARNING"}).settings.log.level == "warning"
    assert load(env={"twilio_account_sid": "AC1"}).settings.account == "AC1"


def test_config_comes_from_the_argument_then_the_variable(tmp_path: Path) -> None:
    """`--config` beats `POLLER_CONFIG`, and nothing is searched for."""
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    first.write_text('log.level = "error"', encoding="utf-8")
    second.write_text('log.level = "debug"', encoding="utf-8")
    environ = {"POLLER_CONFIG": str(second), "POLLER_SECRETS_DIR": str(tmp_path / "none")}
    loaded = load_settings(config=first, overrides=[], environ=environ)
    assert loaded.settings.log.level == "error"
    found = load_settings(config=None, overrides=[], environ=environ)
    assert found.origins["log.level"] == f"file {second}"


def test_systemd_decides_the_default_store(load: Load) -> None:
    """The default store is in the first state directory; anything said beats it."""
    env = {"STATE_DIRECTORY": "/var/lib/poller:/var/lib/other"}
    loaded = load(env=env)
    assert loaded.settings.store.url.get_secret_value() == "sqlite:////var/lib/poller/poller.db"
    assert loaded.origins["store.url"] == "default, in $STATE_DIRECTORY"
    loaded = load('[store]\nurl = "sqlite:///x.db"', env=env)
    assert loaded.settings.store.url.get_secret_value() == "sqlite:///x.db"


def test_what_kubernetes_and_the_poller_set_is_no_setting(load: Load) -> None:
    """The variables of a Service named `poller`, and the poller's own, are not mistakes."""
    load(
        env={
            "POLLER_SERVICE_HOST": "10.0.0.1",
            "POLLER_SERVICE_PORT_HTTP": "8470",
            "POLLER_PORT": "tcp://10.0.0.1:8470",
            "POLLER_PORT_8470_TCP_ADDR": "10.0.0.1",
            "POLLER_URL": "http://127.0.0.1:8470",
            "UNRELATED": "x",
        }
    )


def test_an_empty_table_of_sinks_is_none_configured(load: Load) -> None:
    """Events always go somewhere."""
    assert load("[sinks]\n").settings.sinks == {"stdout": StdoutSinkSettings()}


def test_loading_twice_gives_the_same(load: Load) -> None:
    """Settings are values: loading has no effect on the next loading, and changes show."""
    assert load(TOML) == load(TOML)
    assert load(TOML) != load()


NOWHERE = {"POLLER_SECRETS_DIR": "/nonexistent"}
PATHS = sorted({tuple("app" if key == "*" else key for key in row.path) for row in catalogue()})
TEXT = st.text(st.characters(exclude_characters="\0"), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def _tree(assignments: dict[tuple[str, ...], Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in assignments.items():
        node = tree
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = value
    return tree


def _loads_or_refuses(environ: dict[str, str], overrides: list[str]) -> None:
    error: SettingsError | None = None
    try:
        loaded = load_settings(config=None, overrides=overrides, environ=NOWHERE | environ)
        assert describe(loaded)
    except SettingsError as exc:
        error = exc
    if error is not None:
        assert error.problems
        assert all(problem.what and problem.fix for problem in error.problems)
        assert str(error)


@given(st.dictionaries(st.sampled_from(PATHS), VALUES, min_size=1, max_size=4))
def test_any_value_anywhere_is_taken_or_refused(assignments: dict[tuple[str, ...], Any]) -> None:
    """Values of any type and shape, in every place."""
    tables = {f"POLLER_{key.upper()}": json.dumps(v) for key, v in _tree(assignments).items()}
    _loads_or_refuses(tables, [])


@given(st.sampled_from(PATHS), TEXT, st.dictionaries(TEXT, TEXT, max_size=3))
def test_any_text_is_taken_or_refused(
    path: tuple[str, ...], text: str, more: dict[str, str]
) -> None:
    """Any text as a variable, as a `--set`, and under any name."""
    named = {f"POLLER_{name}": value for name, value in more.items()}
    _loads_or_refuses({f"POLLER_{'__'.join(path).upper()}": text, **named}, [])
    _loads_or_refuses({}, [f"{'.'.join(path)}={text}", *more, f"sinks.{text}={text}"])
