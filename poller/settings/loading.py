"""Loads settings from command line, environment and files; reports all problems together."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from poller.comms.credentials import AnyCredentials
from poller.settings.catalogue import SECTIONS, SettingPath, dotted
from poller.settings.errors import SettingsError, SettingsProblem
from poller.settings.model import Settings
from poller.settings.origins import OriginSource, SourcedValue
from poller.settings.problems import problems_in, unknown_key
from poller.settings.report import DEFAULT, SettingRow, rows, values
from poller.settings.sources import (
    config_file,
    from_tables,
    may_be_setting,
    read_sources,
    secrets_directory,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Settings, and the origin of each value by the setting's dotted name."""

    settings: Settings
    origins: Mapping[str, str]


def load_settings(
    *,
    config: Path | None,
    overrides: Sequence[str],
    environ: Mapping[str, str],
    sections: Collection[str] = SECTIONS,
) -> Loaded:
    """Read all sources and check them together. Changes nothing.

    `config` is the file of `--config`, `overrides` the values of `--set`. The precedence, highest
    first: overrides, `POLLER_…` variables, secret files, the vendor's variables and secret files,
    the TOML file, defaults.

    Only these `sections` are read. The others have their defaults, and a mistake in them is not
    reported unless it is on the command line.

    :raises SettingsError: with every problem that was found.
    """
    return _checked(
        read_sources(config=config, overrides=overrides, environ=environ, sections=sections)
    )


def check_settings(tables: Mapping[str, object], *, origin: str) -> Settings:
    """Check settings that are given as tables of a configuration file; reads nothing else.

    :raises SettingsError: with every problem that was found; `origin` describes the source.
    """
    return _checked([from_tables(tables, origin)]).settings


def _checked(sources: Sequence[OriginSource]) -> Loaded:
    given = {path: value for source in reversed(sources) for path, value in source.given.items()}
    problems = [
        problem
        for source in sources
        for problem in (*source.problems, *(unknown_key(key, given) for key in source.unknown))
    ]
    unread = any(source.unread for source in sources)
    settings = None if unread else _validated(sources, given, problems)
    if problems or settings is None:
        raise SettingsError(problems)
    return Loaded(settings=settings, origins=_origins(settings, given))


class SettingsLoader:
    """Loads the settings that `--config` and `--set` name; each load reads all sources again."""

    def __init__(self, config: Path | None = None, overrides: Sequence[str] | None = None) -> None:
        self._config = config
        self._overrides = tuple(overrides or ())

    def load(self, *sections: str) -> Loaded:
        """Read all settings, or only these sections: the others have their defaults.

        :raises SettingsError: with every problem that was found.
        """
        return load_settings(
            config=self._config,
            overrides=self._overrides,
            environ=dict(os.environ),
            sections=sections or SECTIONS,
        )

    def files(self) -> list[Path]:
        """Return the files that the settings would be read from now; blocks on the file system."""
        file = config_file(self._config, os.environ)
        directory, _ = secrets_directory(os.environ)
        try:
            secrets = [each for each in directory.iterdir() if may_be_setting(each.name)]
        except OSError:
            secrets = []
        return [*([] if file is None else [file]), *sorted(secrets)]

    def credentials(self) -> AnyCredentials:
        """Read the credentials again; blocks on the file system.

        :raises SettingsError: where none are set.
        """
        return self.load("api").settings.api.require_credentials()


def describe(loaded: Loaded) -> list[SettingRow]:
    """Return every setting in force, in order, with secrets masked."""
    return rows(loaded.settings, loaded.origins)


def _validated(
    sources: Sequence[OriginSource],
    given: Mapping[SettingPath, SourcedValue],
    problems: list[SettingsProblem],
) -> Settings | None:
    """Return the merged settings; if they are invalid, add to `problems` and return None."""
    noted = {problem.field for problem in problems}
    try:
        return Settings.read(sources)
    except ValidationError as exc:
        problems += [found for found in problems_in(exc, given) if not _follows(found, noted)]
    return None


def _follows(problem: SettingsProblem, noted: set[str]) -> bool:
    """Whether a sink's value is missing only because a source refused it."""
    sink = problem.field.rpartition(".")[0]
    return problem.what.startswith("missing") and any(
        field.startswith(f"{sink}.") or field == sink for field in noted
    )


def _origins(settings: Settings, given: Mapping[SettingPath, SourcedValue]) -> dict[str, str]:
    return {
        dotted(path): given[path].origin if path in given else DEFAULT
        for path, _ in values(settings)
    }
