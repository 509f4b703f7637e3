"""Where a command's settings come from: its options once, environment and files at every load."""

import os
from collections.abc import Sequence
from pathlib import Path

from poller.comms.credentials import Credentials
from poller.settings import SECTIONS, Loaded, load_settings


class SettingsSource:
    """Loads the settings that `--config` and `--set` name, afresh each time."""

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

    def credentials(self) -> Credentials:
        """Read the credentials afresh; blocks on files.

        :raises SettingsError: where none are set.
        """
        return self.load("api").settings.api.require_credentials()
