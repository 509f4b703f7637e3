"""From command line, environment and files to one checked, frozen `Settings`, or every problem."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath

from pydantic import ValidationError

from poller.settings.catalogue import SECTIONS, SettingPath, dotted, meant_by
from poller.settings.complaints import complaints, unknown_setting
from poller.settings.display import DEFAULT, SettingRow, rows, values
from poller.settings.errors import SettingsError, SettingsProblem
from poller.settings.layers import SettingsSource, SourcedValue, UnknownKey
from poller.settings.model import Settings
from poller.settings.sources import (
    from_command_line,
    from_environment,
    from_secret_files,
    from_state_directory,
    from_toml,
    variable,
)

__all__ = ["Loaded", "describe", "load_settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Settings, and for each of them by its dotted name where its value came from, in words."""

    settings: Settings
    origins: Mapping[str, str]


def load_settings(
    *,
    config: FilePath | None,
    overrides: Sequence[str],
    environ: Mapping[str, str],
    sections: Collection[str] = SECTIONS,
) -> Loaded:
    """Read all sources and check them together; changes nothing, so it may be called at any time.

    `config` is what `--config` names, `overrides` what each `--set` says. Highest first: overrides,
    `POLLER_…` variables, secret files, the vendor's variables and secret files, the TOML file,
    defaults.

    Of `sections` only these are read: the others have their defaults, and mistakes in them do not
    count unless they stand on the command line.

    :raises SettingsError: with every problem that was found.
    """
    toml = from_toml(config or _told_config(environ), sections)
    own_variables, vendor_variables = from_environment(environ, sections)
    own_files, vendor_files = from_secret_files(environ, sections)
    command_line = from_command_line(overrides)
    layers = (
        command_line,
        own_variables,
        own_files,
        vendor_variables,
        vendor_files,
        toml,
        from_state_directory(environ, sections),
    )
    command_line.given = {
        path: entry for path, entry in command_line.given.items() if path[0] in sections
    }
    given = {path: entry for layer in reversed(layers) for path, entry in layer.given.items()}
    problems = [
        problem
        for layer in layers
        for problem in (
            *layer.problems,
            *(
                unknown_setting(one, given)
                for one in layer.unknown
                if layer is command_line or _concerns(one, sections)
            ),
        )
    ]
    settings = None if toml.unread else _checked(layers, given, problems)
    if problems or settings is None:
        raise SettingsError(problems)
    return Loaded(settings=settings, origins=_origins(settings, given))


def describe(loaded: Loaded) -> list[SettingRow]:
    """Return every setting in force, in order, with secrets masked."""
    return rows(loaded.settings, loaded.origins)


def _concerns(unknown: UnknownKey, sections: Collection[str]) -> bool:
    """Whether a key that is no setting belongs to one of these sections, as far as can be seen."""
    meant = meant_by(unknown.path)
    section = unknown.path[0] if meant is None else meant[0]
    return section in sections or len(SECTIONS.difference(sections)) == 0


def _told_config(environ: Mapping[str, str]) -> FilePath | None:
    told = variable(environ, "POLLER_CONFIG")
    return FilePath(told) if told else None


def _checked(
    layers: Sequence[SettingsSource],
    given: Mapping[SettingPath, SourcedValue],
    problems: list[SettingsProblem],
) -> Settings | None:
    """Return the merged settings, or None with what is wrong added to `problems`."""
    noted = {problem.field for problem in problems}
    try:
        return Settings.from_sources(layers)
    except ValidationError as exc:
        problems.extend(found for found in complaints(exc, given) if not _follows(found, noted))
    return None


def _follows(problem: SettingsProblem, noted: set[str]) -> bool:
    """Whether a sink lacks something only because what was written for it was refused before."""
    sink = problem.field.rpartition(".")[0]
    return problem.what.startswith("missing") and any(
        field.startswith(f"{sink}.") or field == sink for field in noted
    )


def _origins(settings: Settings, given: Mapping[SettingPath, SourcedValue]) -> dict[str, str]:
    return {
        dotted(path): given[path].origin if path in given else DEFAULT
        for path, _ in values(settings)
    }
