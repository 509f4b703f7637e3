"""Settings: besides the command line, the only package that reads the environment and its files."""

from poller.addresses import MASK
from poller.settings.addresses import StoreUrl
from poller.settings.alerts import AlertSettings
from poller.settings.catalogue import SECTIONS
from poller.settings.errors import SettingsError, SettingsProblem
from poller.settings.fields import Duration, format_duration, parse_duration
from poller.settings.loading import Loaded, SettingsLoader, check_settings, describe, load_settings
from poller.settings.model import (
    ApiSettings,
    EngineSettings,
    LogSettings,
    PollingSettings,
    ServerSettings,
    Settings,
    StoreSettings,
)
from poller.settings.report import SettingRow
from poller.settings.sinks import (
    EVENT_TYPES,
    FINAL,
    FileSinkSettings,
    SinkSettings,
    StdoutSinkSettings,
    WebhookSinkSettings,
    default_sinks,
)

__all__ = [
    "EVENT_TYPES",
    "FINAL",
    "MASK",
    "SECTIONS",
    "AlertSettings",
    "ApiSettings",
    "Duration",
    "EngineSettings",
    "FileSinkSettings",
    "Loaded",
    "LogSettings",
    "PollingSettings",
    "ServerSettings",
    "SettingRow",
    "Settings",
    "SettingsError",
    "SettingsLoader",
    "SettingsProblem",
    "SinkSettings",
    "StdoutSinkSettings",
    "StoreSettings",
    "StoreUrl",
    "WebhookSinkSettings",
    "check_settings",
    "default_sinks",
    "describe",
    "format_duration",
    "load_settings",
    "parse_duration",
]
