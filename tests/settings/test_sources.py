"""Secrets: read from files, and never shown anywhere."""

import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from poller.settings import MASK, Loaded, SettingsError, describe, load_settings

Load = Callable[..., Loaded]
KEY = "whsec_" + "QUJD" * 8
HIDDEN = {
    "TWILIO_AUTH_TOKEN": "hunter2-token",
    "POLLER_API__API_SECRET": "hunter2-api",
    "POLLER_SERVER__TOKEN": "hunter2-server",
    "POLLER_STORE__URL": "postgresql://poller:hunter2@db/poller",
    "POLLER_SINKS__APP__TYPE": "webhook",
    "POLLER_SINKS__APP__URL": "https://h/hunter2?t=hunter2",
    "POLLER_SINKS__APP__SECRET": KEY,
    "POLLER_SINKS__APP__HEADERS": '{"Authorization": "Bearer hunter2"}',
}


def test_no_secret_is_ever_shown(load: Load) -> None:
    """`repr`, `str` and the table of settings hold no secret, and a mask where there is one."""
    loaded = load(env=HIDDEN)
    table = describe(loaded)
    for text in (repr(loaded), str(loaded.settings), f"{loaded.settings.store.url}", repr(table)):
        assert "hunter2" not in text
        assert "QUJD" not in text
    shown = {row.field: row.value for row in table}
    for field in ("api.auth_token", "server.token", "sinks.app.secret"):
        assert shown[field] == MASK
    assert shown["sinks.app.headers.authorization"] == MASK
    assert shown["store.url"] == f'"postgresql+psycopg://poller:{MASK}@db/poller"'
    assert shown["sinks.app.url"] == f'"https://h/{MASK}"'


@pytest.mark.parametrize(
    "source",
    [
        {"toml": '[api]\nauth_token = "hunter2\\n"'},
        {"toml": "[server]\ntoken = {a = 'hunter2'}"},
        {"toml": '[api]\nbase_url = "https://u:hunter2@h/v1"'},
        {"toml": '[api]\nbase_url = "u:hunter2@h"'},
        {"toml": '[api]\nbase_url = "https://h/v1?token=hunter2"'},
        {"toml": '[api]\nauth_tokn = "hunter2"'},
        {"toml": '[store]\nurl = "postgres://u:hunter2@h/db"'},
        {"toml": '[store]\nurl = "postgresql://u:x@hunter2@h/db"'},
        {"toml": '[store]\nurl = "postgresql://u:12/hunter2@h/db"'},
        {"toml": '[sinks.app]\ntype = "webhook"\nurl = "https://h"\nsecret = "hunter2"'},
        {"toml": '[sinks.app]\ntype = "webhook"\nurl = "https://u:hunter2@h"'},
        {"toml": '[sinks.app]\ntype = "webhook"\nurl = "https://h"\nheaders = {a = "hunter2\\n"}'},
        {"toml": '[sinks.app]\ntype = "stdout"\nsecret = "hunter2"'},
        {"toml": '[sinks.app]\ntype = "webhook"\nurl = "hooks.slack.com/hunter2"'},
        {"toml": '[sinks.app]\ntype = "webhook"\nurl = " https://h/hunter2"'},
        {"toml": '[sinks.app]\ntype = "webhook"\nurl = "https://h:0/hunter2"'},
        {"toml": '[sinks.app]\ntype = "webhook"\nurl = "https:/h/hunter2"'},
        {"toml": '[sinks.app]\ntype = "webhook"\nurl = "https://h/hunter2#x"'},
        {"toml": '[sinks.app]\ntype = "webhook"\nurl = ["https://h/hunter2"]'},
        {"toml": '[sinks.app]\ntype = "file"\npath = "x"\nurl = "https://h/hunter2"'},
        {"toml": '[sinks.app]\ntype = "https://h/hunter2"'},
        {"toml": '[sinks.app]\ntype = "stdout"\nevents = ["https://h/hunter2"]'},
        {"toml": '[sinks]\napp = "https://h/hunter2"'},
        {"env": {"POLLER_SINKS__APP__URL": "https://h/hunter2"}},
        {"overrides": ["sinks.app.url=https://h/hunter2"]},
        {"overrides": ["sinks.app.url=h/hunter2"]},
        {"env": {"POLLER_SINKS__APP__SECRET": "hunter2"}},
        {"env": {"POLLER_SINKS": '{"app": hunter2'}},
        {"env": {"POLLER_SINKS__APP": "hunter2"}},
        {"env": {"POLLER_SINKS__APP": '{"secret": "hunter2", "hunter2'}},
        {"env": {"POLLER_API_AUTH_TOKEN": "hunter2"}},
        {"env": {"POLLER_SERVER__TOKEN": "hunter2 hunter2"}},
        {"overrides": ["api.auth_token=hunter2"]},
        {"overrides": ["api.auth_tokn=hunter2"]},
        {"overrides": ["api.auth_token:hunter2"]},
        {"overrides": ["api={auth_token = 'hunter2'}"]},
        {"secrets": {"poller_sinks__app__secret": "hunter2"}},
        {"secrets": {"twilio_auth_token": "hunter2\nhunter2"}},
    ],
)
def test_no_mistake_shows_a_secret(load: Load, source: dict[str, object]) -> None:
    """No message and no traceback about a bad secret repeats it."""
    with pytest.raises(SettingsError) as caught:
        load(**source)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("override", "field", "variable"),
    [
        ("api.auth_token=x", "api.auth_token", "POLLER_API__AUTH_TOKEN"),
        ("api.api_secret=x", "api.api_secret", "POLLER_API__API_SECRET"),
        ("server.token=x", "server.token", "POLLER_SERVER__TOKEN"),
        ("store.url=postgresql://u:x@h/db", "store.url", "POLLER_STORE__URL"),
        ("sinks.app.url=https://h/x", "sinks.app.url", "POLLER_SINKS__APP__URL"),
        ("sinks.app.url=h/x", "sinks.app.url", "POLLER_SINKS__APP__URL"),
        ('sinks={"app": {"url": "https://h?x"}}', "sinks.app.url", "POLLER_SINKS__APP__URL"),
        (f"sinks.app.secret={KEY}", "sinks.app.secret", "POLLER_SINKS__APP__SECRET"),
        ("sinks.app.headers.a=x", "sinks.app.headers.a", "POLLER_SINKS__APP__HEADERS__A"),
        (
            'sinks.app={"headers": {"a": "x"}}',
            "sinks.app.headers.a",
            "POLLER_SINKS__APP__HEADERS__A",
        ),
    ],
)
def test_the_command_line_takes_no_secret(
    load: Load, override: str, field: str, variable: str
) -> None:
    """`--set` refuses each secret and says which variable takes it."""
    with pytest.raises(SettingsError) as caught:
        load(overrides=[override])
    problem = next(p for p in caught.value.problems if p.field == field)
    assert problem.origin == "--set"
    assert variable in problem.fix


def test_the_command_line_takes_a_store_without_password(load: Load) -> None:
    """Only a store URL that holds a password is secret."""
    loaded = load(overrides=["store.url=postgresql://poller@db:5432/poller"])
    assert loaded.origins["store.url"] == "--set"


def test_the_command_line_takes_the_origin_of_a_webhook(load: Load) -> None:
    """Only a webhook's URL with a path or a query is secret."""
    loaded = load(overrides=["sinks.app.type=webhook", "sinks.app.url=http://127.0.0.1:9/"])
    assert loaded.origins["sinks.app.url"] == "--set"


def test_a_byte_order_mark_is_no_part_of_a_file(load: Load) -> None:
    """Some editors write one at the beginning, in settings and in secrets."""
    loaded = load("\ufeff[polling]\nsettle = 3\n", secrets={"twilio_account_sid": "\ufeffAC1"})
    assert (loaded.settings.polling.settle, loaded.settings.account) == (3.0, "AC1")


def test_which_directory_of_secrets(tmp_path: Path) -> None:
    """`POLLER_SECRETS_DIR` beats `CREDENTIALS_DIRECTORY`; the directory need not exist."""
    for name in ("ours", "systemd"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "twilio_account_sid").write_text(f"AC{name}\n", encoding="utf-8")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path / "systemd")}
    assert load_settings(config=None, overrides=[], environ=environ).settings.account == "ACsystemd"
    environ["POLLER_SECRETS_DIR"] = str(tmp_path / "ours")
    assert load_settings(config=None, overrides=[], environ=environ).settings.account == "ACours"
    environ["POLLER_SECRETS_DIR"] = str(tmp_path / "missing")
    assert load_settings(config=None, overrides=[], environ=environ).settings.account == "default"


def test_other_files_and_kubernetes_links_are_no_mistake(load: Load) -> None:
    """Foreign files, directories and the `..data` of a Kubernetes volume are left alone."""
    data = Path("secrets/..data")
    data.mkdir(parents=True)
    (data / "twilio_account_sid").write_text("ACk8s", encoding="utf-8")
    Path("secrets/twilio_account_sid").symlink_to("..data/twilio_account_sid")
    Path("secrets/poller_api__auth_token").mkdir()
    (Path("secrets") / "tls.key").write_bytes(b"\xff\xfe")
    loaded = load(secrets={"poller_unknown": "x", "poller_api__tokn": "x", "database_url": "x"})
    assert loaded.settings.account == "ACk8s"


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"\xff\xfe", "not text in UTF-8"), (b"x" * 70_000, "longer than 65536 bytes")],
)
def test_a_secret_file_that_is_none_is_named(load: Load, content: bytes, what: str) -> None:
    """A file with the right name and the wrong content is refused by name."""
    Path("secrets").mkdir()
    Path("secrets/twilio_auth_token").write_bytes(content)
    with pytest.raises(SettingsError, match=f"secrets/twilio_auth_token: {what}"):
        load()


def test_a_secret_file_that_cannot_be_read_is_named(load: Load) -> None:
    """A dangling link or a closed file is not the same as no file."""
    Path("secrets").mkdir()
    Path("secrets/twilio_auth_token").symlink_to("nowhere")
    with pytest.raises(SettingsError, match="secrets/twilio_auth_token: cannot be read"):
        load()


def test_a_directory_of_secrets_that_is_a_file_is_named(tmp_path: Path) -> None:
    """What the operator pointed at must be a directory."""
    file = tmp_path / "secrets"
    file.write_text("", encoding="utf-8")
    with pytest.raises(SettingsError, match="cannot be read: Not a directory"):
        load_settings(config=None, overrides=[], environ={"POLLER_SECRETS_DIR": str(file)})
