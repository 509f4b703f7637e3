"""Where settings are read from: command line, environment, secret files, a TOML file.

Each function returns layers and raises nothing: what is wrong is noted in the layer. Nothing here
reads `os.environ`; the environment is an argument.
"""

import json
import stat
import tomllib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any, Final

from poller.settings.addresses import StoreUrl, store_password
from poller.settings.catalogue import (
    PREFIX,
    SettingPath,
    dotted,
    env_name,
    find,
    is_section,
    path_of,
)
from poller.settings.errors import SettingsProblem
from poller.settings.layers import SettingsSource

__all__ = [
    "VENDOR_NAMES",
    "from_command_line",
    "from_environment",
    "from_secret_files",
    "from_state_directory",
    "from_toml",
    "variable",
]

VENDOR_NAMES: Final[Mapping[str, SettingPath]] = {
    "TWILIO_ACCOUNT_SID": ("api", "account_sid"),
    "TWILIO_AUTH_TOKEN": ("api", "auth_token"),
    "TWILIO_API_KEY": ("api", "api_key"),
    "TWILIO_API_SECRET": ("api", "api_secret"),
}
"""The vendor's own variables. Any `POLLER_API__…` variable or file beats them."""

_NO_SETTINGS: Final = frozenset({"POLLER_CONFIG", "POLLER_SECRETS_DIR", "POLLER_URL"})
_KUBERNETES: Final = ("POLLER_SERVICE_", "POLLER_PORT")  # made for a Service named `poller`
_DEFAULT_SECRETS: Final = "/run/secrets"
_MAX_SECRET_BYTES: Final = 65_536


def variable(environ: Mapping[str, str], name: str) -> str | None:
    """Return a variable's value, whatever the case of its name, None where unset or empty."""
    return environ.get(name) or next(
        (v for k, v in environ.items() if k.upper() == name and v), None
    )


def from_command_line(overrides: Sequence[str]) -> SettingsSource:
    """Read `--set KEY=VALUE`, the later ones over the earlier; no secrets, others can see them."""
    layer = SettingsSource(repeats=True)
    for number, override in enumerate(overrides, start=1):
        key, equals, text = override.partition("=")
        if equals:
            layer.add_text(path_of(key.strip(), "."), _unquoted(text.strip()), "--set")
        else:
            layer.problems.append(
                SettingsProblem(
                    field=f"--set, number {number}",
                    what="has no =",
                    fix="write --set KEY=VALUE, such as --set polling.max_interval=30s",
                )
            )
    for path in [path for path in layer.given if _is_secret(path, layer.given[path].value)]:
        del layer.given[path]
        layer.problems.append(
            SettingsProblem(
                field=dotted(path),
                what="a secret, and a command line can be read by everybody on the machine",
                fix=f"set {env_name(path)}, or write it into a file of the secrets directory",
                origin="--set",
            )
        )
    return layer


def from_environment(
    environ: Mapping[str, str], sections: Collection[str]
) -> tuple[SettingsSource, SettingsSource]:
    """Read `POLLER_…` variables, and apart from them those of the vendor's names."""
    own, vendor = SettingsSource(sections=sections), SettingsSource(sections=sections)
    for name in sorted(environ, key=_outer_first):
        upper, origin = name.upper(), f"environment variable {name}"
        if upper in VENDOR_NAMES:
            vendor.add(VENDOR_NAMES[upper], environ[name], origin)
        elif _is_ours(upper):
            own.add_text(_env_path(upper), environ[name], origin, name=name)
    return own, vendor


def from_secret_files(
    environ: Mapping[str, str], sections: Collection[str]
) -> tuple[SettingsSource, SettingsSource]:
    """Read the files of the secrets directory that are named like a variable, in lower case.

    Other files are left alone, and so is a directory that does not exist.
    """
    own, vendor = SettingsSource(sections=sections), SettingsSource(sections=sections)
    told = variable(environ, "POLLER_SECRETS_DIR") or variable(environ, "CREDENTIALS_DIRECTORY")
    directory = FilePath(told or _DEFAULT_SECRETS)
    try:
        names = sorted((file.name for file in directory.iterdir()), key=_outer_first)
    except FileNotFoundError:
        return own, vendor
    except OSError as exc:
        if told:  # that the usual place is closed to us is no mistake of anybody
            own.problems.append(_unreadable(str(directory), exc))
        return own, vendor
    for name in names:
        upper, origin = name.upper(), f"secret file {directory / name}"
        path = VENDOR_NAMES.get(upper) or (_env_path(upper) if _is_ours(upper) else ())
        layer = vendor if upper in VENDOR_NAMES else own
        if not path or not layer.reads(path) or (find(path) is None and not is_section(path)):
            continue
        if (text := _read_secret(directory / name, layer)) is not None:
            layer.add_text(path, text, origin)
    return own, vendor


def from_toml(file: FilePath | None, sections: Collection[str]) -> SettingsSource:
    """Read the configuration file, if one is named."""
    layer = SettingsSource(sections=sections)
    if file is None:
        return layer
    tables = _read_toml(file)
    if isinstance(tables, SettingsProblem):
        layer.unread = True
        layer.problems.append(tables)
        return layer
    for key, value in tables.items():
        layer.add((key,), value, f"file {file}", rank=0)
    return layer


def from_state_directory(environ: Mapping[str, str], sections: Collection[str]) -> SettingsSource:
    """Put the default store into systemd's `StateDirectory`, the first where there are several."""
    layer = SettingsSource(sections=sections)
    if directories := variable(environ, "STATE_DIRECTORY"):
        place = FilePath(directories.partition(":")[0]) / "poller.db"
        layer.add(("store", "url"), f"sqlite:///{place}", "default, in $STATE_DIRECTORY")
    return layer


def _is_ours(upper: str) -> bool:
    return (
        upper.startswith(PREFIX) and upper not in _NO_SETTINGS and not upper.startswith(_KUBERNETES)
    )


def _env_path(upper: str) -> SettingPath:
    return path_of(upper.removeprefix(PREFIX).lower(), "__")


def _outer_first(name: str) -> tuple[int, str]:
    """Sort what names a whole table before what names something in it, which wins."""
    return name.count("__"), name


def _unquoted(text: str) -> str:
    """Return what TOML or JSON quotes enclose, anything else as it stands."""
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
    if row is None:
        return False
    return row.secret or (isinstance(value, StoreUrl) and store_password(value.get_secret_value()))


def _read_secret(file: FilePath, layer: SettingsSource) -> str | None:
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            return None
        with file.open("rb") as opened:
            content = opened.read(_MAX_SECRET_BYTES + 1)
        if len(content) > _MAX_SECRET_BYTES:
            layer.problems.append(_bad_secret(file, f"longer than {_MAX_SECRET_BYTES} bytes"))
            return None
        return content.decode().strip()
    except OSError as exc:
        layer.problems.append(_unreadable(str(file), exc))
    except UnicodeDecodeError:
        layer.problems.append(_bad_secret(file, "not text in UTF-8"))
    return None


def _read_toml(file: FilePath) -> dict[str, Any] | SettingsProblem:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as exc:
        return _unreadable(str(file), exc)
    except UnicodeDecodeError:
        return SettingsProblem(field=str(file), what="not text in UTF-8", fix="save it as UTF-8")
    except (ValueError, RecursionError) as exc:  # ValueError also for a number of 5,000 digits
        return SettingsProblem(
            field=str(file),
            what=f"not TOML: {exc}",
            fix="correct that line; text stands in quotes, tables in [brackets]",
        )


def _bad_secret(file: FilePath, what: str) -> SettingsProblem:
    return SettingsProblem(
        field=str(file), what=what, fix="write the secret alone into it, or remove it"
    )


def _unreadable(place: str, exc: OSError) -> SettingsProblem:
    return SettingsProblem(
        field=place,
        what=f"cannot be read: {exc.strerror}",
        fix="check the path and that the poller's user may read it",
    )
