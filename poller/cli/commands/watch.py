"""`poller watch`: see operations live until they end."""

from poller.cli.options import (
    DEFAULT_KIND_NAME,
    Config,
    Ids,
    Json,
    KindName,
    Labels,
    Overrides,
    Timeout,
    Url,
    Version,
    defaults_of,
    registrations,
    timeout_seconds,
)
from poller.cli.session import Target
from poller.cli.watch.command import watch_operations
from poller.settings import SettingsLoader


def command(
    ids: Ids,
    json_output: Json = False,
    timeout: Timeout = None,
    kind: KindName = DEFAULT_KIND_NAME,
    label: Labels = None,
    url: Url = None,
    config: Config = None,
    overrides: Overrides = None,
    _version: Version = False,
) -> int:
    """Watch operations and messages live until they end; registers nothing, needs no daemon.

    What a running daemon watches is followed there; the API is asked for the rest. On a
    terminal a bar per operation and the attempts of each message, else one event per line.
    With polling.breakdown it ends after what failed is told. Exits with 0 where all completed
    and no recipient failed, was undelivered or unaddressable (a failed attempt does not count
    where a fallback delivered); 3 where something ended otherwise; 4 after --timeout; 1 where
    the credentials are refused; 130 after Ctrl-C.
    """
    return watch_operations(
        SettingsLoader(config, overrides),
        Target(url, config, overrides),
        registrations(ids or (), defaults_of(kind=kind, labels=label)),
        json_output=json_output,
        timeout=timeout_seconds(timeout),
    )
