"""Settings: the only room, beside the command line, that reads the environment and its files."""

from poller.settings.addresses import MASK, StoreUrl, TcpAddress, UnixAddress
from poller.settings.catalogue import SECTIONS
from poller.settings.display import Row
from poller.settings.durations import Duration, format_duration, parse_duration
from poller.settings.errors import Problem, SettingsError
from poller.settings.events import EVENT_TYPES, FINAL
from poller.settings.loading import Loaded, describe, load_settings
from poller.settings.model import Api, Engine, Log, Polling, Server, Settings, Store
from poller.settings.sinks import (
    FileSink,
    SinkSettings,
    StdoutSink,
    WebhookSink,
    default_sinks,
)

__all__ = [
    "EVENT_TYPES",
    "FINAL",
    "MASK",
    "SECTIONS",
    "Api",
    "Duration",
    "Engine",
    "FileSink",
    "Loaded",
    "Log",
    "Polling",
    "Problem",
    "Row",
    "Server",
    "Settings",
    "SettingsError",
    "SinkSettings",
    "StdoutSink",
    "Store",
    "StoreUrl",
    "TcpAddress",
    "UnixAddress",
    "WebhookSink",
    "default_sinks",
    "describe",
    "format_duration",
    "load_settings",
    "parse_duration",
]
