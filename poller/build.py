"""Builds the parts of the engine from the settings; no other module depends on both."""

from collections.abc import Callable
from datetime import datetime
from hashlib import pbkdf2_hmac
from typing import Final

from poller.clock import wall_clock
from poller.comms.caller import ApiCaller
from poller.comms.client import MOST_CONNECTIONS, CommsClient
from poller.comms.credentials import AnyCredentials
from poller.comms.gate import Pause
from poller.comms.throttle import Throttle
from poller.engine.configuration import Configuration, SinkPlan
from poller.engine.stored_budget import StoredBudget
from poller.files import file_version
from poller.http.transport import TlsFiles
from poller.server.hints import HintAccess
from poller.server.listening import Listening
from poller.settings import (
    AlertSettings,
    FileSinkSettings,
    Settings,
    SinkSettings,
    StdoutSinkSettings,
    WebhookSinkSettings,
)
from poller.sinks.base import Sink
from poller.sinks.stdout import LineMaker, StdoutSink, json_line
from poller.store.store import Store
from poller.tracking.alert import AlertRule, AlertSubject
from poller.tracking.delivery import Subscription
from poller.tracking.pacing import Policy
from poller.tracking.privacy import Addresses
from poller.tracking.watch import AccountScope

_HASH_ROUNDS: Final = 10_000
"""They take a few milliseconds for each sink at the start."""


def configuration(
    settings: Settings,
    credentials: Callable[[], AnyCredentials],
    *,
    line: LineMaker = json_line,
) -> Configuration:
    """Return the engine's configuration.

    `credentials` reads the credentials again; `line` makes the line of an event on stdout.
    """
    polling = settings.polling
    return Configuration(
        scope=AccountScope(account=settings.account, base_url=settings.api.base_url),
        policy=Policy(
            min_interval=polling.min_interval,
            max_interval=polling.max_interval,
            progress_interval=polling.progress_interval,
            settle=polling.settle,
            not_found_grace=polling.not_found_grace,
            schedule_checks=polling.schedule_checks,
            breakdown=polling.breakdown,
            addresses=Addresses(polling.include_addresses),
            alerts=tuple(_rule(name, alert) for name, alert in settings.alerts.items()),
        ),
        credentials=credentials,
        sinks=[
            _plan(name, sink, settings.server.public_url, line)
            for name, sink in settings.sinks.items()
        ],
        sweep=polling.sweep == "auto",
        discover_age=polling.discover_age if polling.discover else None,
        retention=settings.store.retention,
        shutdown_grace=settings.engine.shutdown_grace,
        request_timeout=settings.api.timeout,
        max_concurrency=settings.api.max_concurrency,
        requests_per_second=settings.api.requests_per_second,
    )


def shows_every_event(settings: Settings) -> bool:
    """Whether standard output has a line for each event."""
    return any(
        isinstance(sink, StdoutSinkSettings) and "*" in sink.events and not sink.labels
        for sink in settings.sinks.values()
    )


def listening(settings: Settings) -> Listening:
    """Return where the control API listens."""
    server = settings.server
    return Listening(
        address=server.address,
        token=server.token,
        public_url=server.public_url,
        socket_mode=server.socket_permissions,
        observe=server.observe_address,
        hints=server.hints_address,
    )


def hint_access(settings: Settings) -> HintAccess:
    """Return how pushes of the vendor are verified."""
    server = settings.server
    return HintAccess(
        user=server.hints_user,
        password=server.hints_password,
        url=server.hints_url,
        auth_token=settings.api.auth_token,
    )


def make_client(settings: Settings) -> CommsClient:
    """Make the client of the API; it opens nothing before the first request.

    :raises SettingsError: where there are no credentials.
    :raises EgressError: where a proxy or certificate variable cannot be used.
    """
    return CommsClient(
        base_url=settings.api.base_url,
        credentials=settings.api.require_credentials(),
        timeout=settings.api.timeout,
        # the throttle limits the requests under way, and a reload may change its limit
        max_connections=MOST_CONNECTIONS,
        now=wall_clock,
    )


def make_budget(settings: Settings, store: Store) -> StoredBudget | None:
    """Make the budget of an account whose daemons share a store; None for a store of one daemon."""
    if not store.is_shared:
        return None
    return StoredBudget(store, request_timeout=settings.api.timeout)


def make_throttle(
    settings: Settings,
    paused: Pause | None = None,
    *,
    budget: StoredBudget | None = None,
    max_concurrency: int | None = None,
    now: Callable[[], datetime] = wall_clock,
) -> Throttle:
    """Make the account's throttle, with the pause that was stored.

    `max_concurrency` replaces that of the settings.
    """
    return Throttle(
        budget=budget,
        max_concurrency=max_concurrency or settings.api.max_concurrency,
        requests_per_second=settings.api.requests_per_second,
        probe_interval=settings.polling.max_interval,
        now=now,
        paused=paused,
    )


def make_caller(settings: Settings, client: CommsClient) -> ApiCaller:
    """Make the caller of the API for a command, which sends one request after the other.

    A daemon may use the same account, so a command keeps to the account's rate.
    """
    return ApiCaller(
        client=client,
        throttle=make_throttle(settings, max_concurrency=1),
        credentials=settings.api.require_credentials,
        now=wall_clock,
    )


def make_sink(name: str, sink: SinkSettings, public_url: str, line: LineMaker = json_line) -> Sink:
    """Make one sink; it opens nothing before `start`. Messages to people link to `public_url`."""
    # the other kinds of sink are imported only where one is configured
    match sink:
        case StdoutSinkSettings():
            return StdoutSink(name=name, line=line)
        case FileSinkSettings(path=path):
            from poller.sinks.file import FileSink  # noqa: PLC0415

            return FileSink(name=name, path=path)
        case WebhookSinkSettings():
            from poller.sinks.formats import CLOUDEVENTS, chat_format  # noqa: PLC0415
            from poller.sinks.webhook import WebhookSink  # noqa: PLC0415

            is_chat = sink.is_for_people
            return WebhookSink(
                name=name,
                url=sink.url,
                secret=sink.secret,
                headers=sink.headers,
                timeout=sink.timeout,
                tls=_tls_files(name, sink),
                body_format=chat_format(sink.format, public_url) if is_chat else CLOUDEVENTS,
                clock=wall_clock,
            )


def _tls_files(name: str, sink: WebhookSinkSettings) -> TlsFiles | None:
    if not sink.pem_files:
        return None
    return TlsFiles(
        setting=f"sinks.{name}",
        ca=sink.ca,
        client_cert=sink.client_cert,
        client_key=sink.client_key,
    )


def _rule(name: str, alert: AlertSettings) -> AlertRule:
    return AlertRule(
        name=name,
        of=AlertSubject(alert.of),
        counters=alert.counters,
        ratio=alert.ratio,
        count=alert.count,
        at_least=alert.smallest,
        stalled=alert.stalled,
        labels=alert.labels,
    )


def _plan(name: str, sink: SinkSettings, public_url: str, line: LineMaker) -> SinkPlan:
    subscription = Subscription(sink=name, events=sink.events, labels=sink.labels)
    # the subscription is not part of the key: a file stays open when only `events` changes
    identity = sink.model_copy(update={"events": ("*",), "labels": {}})
    is_chat = isinstance(sink, WebhookSinkSettings) and sink.is_for_people
    return SinkPlan(
        subscription=subscription,
        key=(
            identity.model_dump_json(),
            _secrets(sink),
            public_url if is_chat else "",
            _versions(sink),
        ),
        make=lambda: make_sink(name, sink, public_url, line),
        fingerprint=_fingerprint(name, sink),
    )


def _versions(sink: SinkSettings) -> tuple[object, ...]:
    """Return the versions of the PEM files: after a change a reload makes the sink again."""
    if not isinstance(sink, WebhookSinkSettings):
        return ()
    return tuple(file_version(path) for path in sink.pem_files)


def _secrets(sink: SinkSettings) -> str:
    """Return what distinguishes sinks that differ only in a secret, without keeping the secret."""
    return str(hash(_secret_values(sink)))


def _secret_values(sink: SinkSettings) -> tuple[str, ...]:
    if not isinstance(sink, WebhookSinkSettings):
        return ()
    values = [sink.secret, *sink.headers.values()]
    return tuple(value.get_secret_value() for value in values if value is not None)


def _fingerprint(name: str, sink: SinkSettings) -> str:
    """Return a hash that is equal for equal settings, secrets included, and reveals none of them.

    It is stored and compared between daemons, so the salt is fixed; a slow hash hinders guessing.
    """
    settings = "\n".join([sink.model_dump_json(), *_secret_values(sink)])
    return pbkdf2_hmac("sha256", settings.encode(), name.encode(), _HASH_ROUNDS, dklen=16).hex()
