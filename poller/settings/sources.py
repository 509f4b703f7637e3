"""The sources of settings: command line, environment, secret files, a TOML file.

A source records the origin of each value. Reading raises nothing: problems are recorded as well.
Nothing here reads `os.environ`; the environment is an argument.
"""

import json
import stat
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource

from poller.addresses import safe_webhook_url
from poller.settings.addresses import StoreUrl, store_password
from poller.settings.catalogue import (
    CREDENTIALS,
    NAMED,
    PREFIX,
    SECTIONS,
    WEBHOOK_URL,
    Setting,
    SettingPath,
    SettingShape,
    catalogue,
    dotted,
    env_name,
    find,
    is_section,
    meant_by,
    path_of,
)
from poller.settings.errors import SettingsProblem
from poller.settings.model import Settings

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


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcedValue:
    """A value from one source, secrets wrapped, with a description of its origin."""

    value: object
    origin: str
    rank: int
    """The number of keys in its name: `POLLER_SINKS` has 1, `POLLER_SINKS__APP__SECRET` 3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownKey:
    """A key that is not a setting; `variable` is its name if it came from a variable."""

    path: SettingPath
    origin: str
    variable: str | None = None

    @property
    def field(self) -> str:
        """Its name in the form of its source."""
        return self.variable or dotted(self.path)


class OriginSource(PydanticBaseSettingsSource):
    """The content of one source: values `given` by path, `unknown` keys, and `problems`.

    `unread` is true if the source could not be read: then missing values are not reported. With
    `repeats`, a later value of the same rank replaces an earlier one, as on the command line;
    without it that is a problem. A value of a higher rank always wins. The source ignores settings
    outside its `sections`.
    """

    def __init__(self, *, sections: Collection[str] = SECTIONS, repeats: bool = False) -> None:
        super().__init__(Settings)
        self.given: dict[SettingPath, SourcedValue] = {}
        self.unknown: list[UnknownKey] = []
        self.problems: list[SettingsProblem] = []
        self.unread = False
        self._ignored = SECTIONS.difference(sections)
        self._repeats = repeats

    def __call__(self) -> dict[str, Any]:
        """Return the values as the nested tables that pydantic-settings merges."""
        tree: dict[str, Any] = {}
        for path, given in self.given.items():
            node = tree
            for key in path[:-1]:
                node = node.setdefault(key, {})
            if given.value == {}:
                node.setdefault(path[-1], {})
            else:
                node[path[-1]] = given.value
        return tree

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 - the base class names it
        """Return one top-level table; its values are decoded already."""
        return self().get(field_name), field_name, False

    def reads(self, path: SettingPath) -> bool:
        """Whether the path may belong to a section that this source reads."""
        return path[0] not in self._ignored

    def add_text(
        self, path: SettingPath, text: str, origin: str, *, name: str | None = None
    ) -> None:
        """Add a value that is given as text; `name` is the variable that it comes from."""
        row = find(path)
        if not self.reads(path):
            return
        if row is None and not is_section(path):
            self._add_unknown(UnknownKey(path=path, origin=origin, variable=name))
        elif row is not None and (row.shape is SettingShape.SCALAR or len(path) > len(row.path)):
            self.add(path, text, origin)
        elif (
            row is not None and row.shape is SettingShape.LIST and not text.strip().startswith("[")
        ):
            self.add(path, text.replace(",", " ").split(), origin)
        else:
            self._add_decoded(path, text, origin)

    def add(
        self, path: SettingPath, value: object, origin: str, *, rank: int | None = None
    ) -> None:
        """Add a value, or each value of a table."""
        rank = len(path) if rank is None else rank
        row = find(path)
        if not self.reads(path):
            return
        if row is None and not is_section(path):
            self._add_unknown(UnknownKey(path=path, origin=origin))
        elif row is not None and (row.shape is not SettingShape.TABLE or len(path) > len(row.path)):
            self._put(row, path, value, origin, rank)
        elif not isinstance(value, Mapping):
            self._refuse_scalar(path, origin)
        elif value:
            for key, item in value.items():
                self.add((*path, key), item, origin, rank=rank)
        else:
            self.given.setdefault(path, SourcedValue(value={}, origin=origin, rank=rank))

    def _add_unknown(self, key: UnknownKey) -> None:
        """Keep an unknown key, unless it seems to belong to a section that is ignored."""
        meant = meant_by(key.path)
        section = key.path[0] if meant is None else meant[0]
        if not self._ignored or section in SECTIONS - self._ignored:
            self.unknown.append(key)

    def _put(self, row: Setting, path: SettingPath, value: object, origin: str, rank: int) -> None:
        if row.path in CREDENTIALS and (value is None or not str(value).strip()):
            return
        if path[2:3] == ("headers",):  # header names are case-insensitive
            path = (*path[:3], path[3].lower())
        before = self.given.get(path)
        if before is not None and before.rank == rank and not self._repeats:
            self.problems.append(
                SettingsProblem(
                    field=dotted(path),
                    what=f"given twice, also by {before.origin}",
                    fix="remove one of them",
                    origin=origin,
                )
            )
        elif before is None or before.rank <= rank or self._repeats:
            self.given[path] = SourcedValue(value=_wrapped(row, value), origin=origin, rank=rank)

    def _add_decoded(self, path: SettingPath, text: str, origin: str) -> None:
        decoded = _decoded(text)
        if decoded is None:
            self._refuse_scalar(path, origin)
        else:
            self.add(path, decoded, origin)

    def _refuse_scalar(self, path: SettingPath, origin: str) -> None:
        row = find(path)
        if row is not None and row.shape is SettingShape.LIST:
            what, fix = "not a list", 'write it like ["operation.*"]'
        elif row is not None or path[0] in NAMED:
            what, fix = "not a table of values", 'write a table, as JSON {"key": "value"}'
        else:
            one = next(row.path for row in catalogue() if row.path[0] == path[0])
            what = "not a setting but a table of them"
            fix = f"set one of them, such as {dotted(one)} ({env_name(one)})"
        self.problems.append(SettingsProblem(field=dotted(path), what=what, fix=fix, origin=origin))


def _wrapped(row: Setting, value: object) -> object:
    """Wrap a secret in a type that hides it if it is printed by accident."""
    if not isinstance(value, str):
        return value
    if row.path == ("store", "url"):
        return StoreUrl(value)
    return SecretStr(value) if row.secret else value


def _decoded(text: str) -> object:
    """Read JSON, else TOML; return None if the text is neither."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return None


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
    source = OriginSource()
    for key, value in tables.items():
        source.add((key,), value, origin, rank=0)
    return source


def from_toml(file: Path | None, sections: Collection[str]) -> OriginSource:
    """Read the configuration file, if one is named."""
    source = OriginSource(sections=sections)
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
