"""The sources of settings: command line, environment, secret files, a TOML file.

A source records the origin of each value. Reading raises nothing: problems are recorded as well.
Nothing here reads `os.environ`; the environment is an argument.
"""

import json
import stat
import tomllib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from poller.addresses import safe_webhook_url
from poller.settings.addresses import StoreUrl, store_password
from poller.settings.catalogue import (
    PREFIX,
    WEBHOOK_URL,
    SettingPath,
    dotted,
    env_name,
    find,
    is_section,
    path_of,
)
from poller.settings.errors import SettingsProblem
from poller.settings.origins import OriginSource

VENDOR_NAMES: Final[Mapping[str, SettingPath]] = {
    "TWILIO_ACCOUNT_SID": ("api", "account_sid"),
    "TWILIO_AUTH_TOKEN": ("api", "auth_token"),
    "TWILIO_API_KEY": ("api", "api_key"),
    "TWILIO_API_SECRET": ("api", "api_secret"),
}
"""The vendor's own variables. Any `POLLER_API__…` variable or file takes precedence."""

_NO_SETTINGS: Final = frozenset({"POLLER_CONFIG", "POLLER_SECRETS_DIR", "POLLER_URL"})
_KUBERNETES: Final = ("POLLER_SERVICE_", "POLLER_PORT")  # set for a Service named `poller`
_DEFAULT_SECRETS: Final = "/run/secrets"
_MAX_SECRET_BYTES: Final = 65_536


def variable(environ: Mapping[str, str], name: str) -> str | None:
    """Return a variable's value, ignoring the case of its name; None if unset or empty."""
    return environ.get(name) or next(
        (v for k, v in environ.items() if k.upper() == name and v), None
    )


def read_sources(
    *,
    config: Path | None,
    overrides: Sequence[str],
    environ: Mapping[str, str],
    sections: Collection[str],
) -> tuple[OriginSource, ...]:
    """Read all sources; the one with the highest precedence is first."""
    config = config_file(config, environ)
    own_variables, vendor_variables = from_environment(environ, sections)
    own_files, vendor_files = from_secret_files(environ, sections)
    return (
        from_command_line(overrides, sections),
        own_variables,
        own_files,
        vendor_variables,
        vendor_files,
        from_toml(config, sections),
        from_state_directory(environ, sections),
    )


def config_file(config: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Return the configuration file; `config` is that of `--config`."""
    named = variable(environ, "POLLER_CONFIG")
    return Path(named) if config is None and named else config


def secrets_directory(environ: Mapping[str, str]) -> tuple[Path, str | None]:
    """Return the directory of secret files, and its name if a variable sets it."""
    named = variable(environ, "POLLER_SECRETS_DIR") or variable(environ, "CREDENTIALS_DIRECTORY")
    return Path(named or _DEFAULT_SECRETS), named


def from_command_line(overrides: Sequence[str], sections: Collection[str]) -> OriginSource:
    """Read each `--set KEY=VALUE`; a later one replaces an earlier one, and secrets are refused.

    Mistakes in any section are reported, because they are in this command.
    """
    source = OriginSource(repeats=True)
    for number, override in enumerate(overrides, start=1):
        key, equals, text = override.partition("=")
        if equals:
            source.add_text(path_of(key.strip(), "."), _unquoted(text.strip()), "--set")
        else:
            source.problems.append(
                SettingsProblem(
                    field=f"--set, number {number}",
                    what="has no =",
                    fix="write --set KEY=VALUE, such as --set polling.max_interval=30s",
                )
            )
    for path in [path for path in source.given if _is_secret(path, source.given[path].value)]:
        del source.given[path]
        source.problems.append(
            SettingsProblem(
                field=dotted(path),
                what="a secret, and every user of this machine can read a command line",
                fix=f"set {env_name(path)}, or write it into a file of the secrets directory",
                origin="--set",
            )
        )
    source.given = {path: value for path, value in source.given.items() if path[0] in sections}
    return source


def from_environment(
    environ: Mapping[str, str], sections: Collection[str]
) -> tuple[OriginSource, OriginSource]:
    """Read `POLLER_…` variables into one source, and the vendor's variables into another."""
    own, vendor = OriginSource(sections=sections), OriginSource(sections=sections)
    for name in sorted(environ, key=_outer_first):
        upper, origin = name.upper(), f"environment variable {name}"
        if upper in VENDOR_NAMES:
            vendor.add(VENDOR_NAMES[upper], environ[name], origin)
        elif _is_ours(upper):
            own.add_text(_env_path(upper), environ[name], origin, name=name)
    return own, vendor


def from_secret_files(
    environ: Mapping[str, str], sections: Collection[str]
) -> tuple[OriginSource, OriginSource]:
    """Read the files of the secrets directory that are named like a variable, in lower case.

    Other files are ignored. The directory need not exist.
    """
    own, vendor = OriginSource(sections=sections), OriginSource(sections=sections)
    directory, named = secrets_directory(environ)
    try:
        names = sorted((file.name for file in directory.iterdir()), key=_outer_first)
    except FileNotFoundError:
        return own, vendor
    except OSError as exc:
        if named:  # the default directory may be unreadable: nobody asked for it
            own.problems.append(_unreadable(str(directory), exc))
        return own, vendor
    for name in names:
        upper, origin = name.upper(), f"secret file {directory / name}"
        path = VENDOR_NAMES.get(upper) or (_env_path(upper) if _is_ours(upper) else ())
        source = vendor if upper in VENDOR_NAMES else own
        if not path or not source.reads(path) or (find(path) is None and not is_section(path)):
            continue
        if (text := _read_secret(directory / name, source)) is not None:
            source.add_text(path, text, origin)
    return own, vendor


def from_tables(tables: Mapping[str, object], origin: str) -> OriginSource:
    """Read tables that have the structure of a configuration file."""
    source = OriginSource(is_toml=True)
    for key, value in tables.items():
        source.add((key,), value, origin, rank=0)
    return source


def from_toml(file: Path | None, sections: Collection[str]) -> OriginSource:
    """Read the configuration file, if one is named."""
    source = OriginSource(sections=sections, is_toml=True)
    if file is None:
        return source
    tables = _read_toml(file)
    if isinstance(tables, SettingsProblem):
        source.unread = True
        source.problems.append(tables)
        return source
    for key, value in tables.items():
        source.add((key,), value, f"file {file}", rank=0)
    return source


def from_state_directory(environ: Mapping[str, str], sections: Collection[str]) -> OriginSource:
    """Put the default store into systemd's `StateDirectory`, the first if there are several."""
    source = OriginSource(sections=sections)
    if directories := variable(environ, "STATE_DIRECTORY"):
        place = Path(directories.partition(":")[0]) / "poller.db"
        source.add(("store", "url"), f"sqlite:///{place}", "default, in $STATE_DIRECTORY")
    return source


def may_be_setting(name: str) -> bool:
    """Whether a variable or a secret file of this name may hold a setting."""
    return name.upper() in VENDOR_NAMES or _is_ours(name.upper())


def _is_ours(upper: str) -> bool:
    return (
        upper.startswith(PREFIX) and upper not in _NO_SETTINGS and not upper.startswith(_KUBERNETES)
    )


def _env_path(upper: str) -> SettingPath:
    return path_of(upper.removeprefix(PREFIX).lower(), "__")


def _outer_first(name: str) -> tuple[int, str]:
    """Sort the name of a table before the names of its members, which override it."""
    return name.count("__"), name


def _unquoted(text: str) -> str:
    """Remove the quotes of TOML or JSON, if there are any."""
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1]
    if len(text) > 1 and text[0] == text[-1] == '"':
        try:
            return str(json.loads(text))
        except ValueError:
            return text
    return text


def _is_secret(path: SettingPath, value: object) -> bool:
    row = find(path)
    if row is not None and row.path == WEBHOOK_URL and isinstance(value, str):
        return safe_webhook_url(value) != value
    if isinstance(value, StoreUrl):
        return store_password(value.get_secret_value())
    return row is not None and row.secret


def _read_secret(file: Path, source: OriginSource) -> str | None:
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            return None
        with file.open("rb") as opened:
            content = opened.read(_MAX_SECRET_BYTES + 1)
        if len(content) > _MAX_SECRET_BYTES:
            source.problems.append(_bad_secret(file, f"longer than {_MAX_SECRET_BYTES} bytes"))
            return None
        return content.decode("utf-8-sig").strip()
    except OSError as exc:
        source.problems.append(_unreadable(str(file), exc))
    except UnicodeDecodeError:
        source.problems.append(_bad_secret(file, "not text in UTF-8"))
    return None


def _read_toml(file: Path) -> dict[str, Any] | SettingsProblem:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as exc:
        return _unreadable(str(file), exc)
    except UnicodeDecodeError:
        return SettingsProblem(field=str(file), what="not text in UTF-8", fix="save it as UTF-8")
    except (ValueError, RecursionError) as exc:  # ValueError also for a number of 5,000 digits
        fix = "correct that line; write text in quotes and names of tables in [brackets]"
        return SettingsProblem(field=str(file), what=f"not TOML: {exc}", fix=fix)


def _bad_secret(file: Path, what: str) -> SettingsProblem:
    fix = "write only the secret into it, or remove it"
    return SettingsProblem(field=str(file), what=what, fix=fix)


def _unreadable(place: str, exc: OSError) -> SettingsProblem:
    return SettingsProblem(
        field=place,
        what=f"cannot be read: {exc.strerror}",
        fix="check the path, and that the poller's user may read it",
    )
