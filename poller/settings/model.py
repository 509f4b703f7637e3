"""The model of the settings: each with its type, bounds, default and meaning."""

import re
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from poller.addresses import ListenAddress, TcpAddress, parse_listen
from poller.comms.credentials import AnyCredentials, Credentials, OAuthCredentials
from poller.settings.addresses import (
    StoreUrl,
    check_listen,
    check_store_url,
    normal_url,
)
from poller.settings.alerts import AlertName, AlertSettings
from poller.settings.errors import SettingsError, fault
from poller.settings.fields import (
    Count,
    Duration,
    Password,
    Rate,
    Section,
    Token,
    UserName,
    between,
    format_duration,
    missing_credentials,
    missing_hint_access,
)
from poller.settings.sinks import SinkName, SinkSettings, default_sinks

_sources: ContextVar[tuple[PydanticBaseSettingsSource, ...]] = ContextVar("sources", default=())
"""Passes the sources from `Settings.read` to pydantic-settings' hook, which has no parameter."""

_Interval = Annotated[Duration, AfterValidator(between("10ms", "1d"))]


def _as_addresses(value: object) -> object:
    """Read true as `masked`, false as `hidden`."""
    words = {"true": "masked", "false": "hidden"}
    return words.get(str(value).lower(), value.lower() if isinstance(value, str) else value)


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class ApiSettings(Section):
    """The Communications API and the account to use."""

    base_url: Annotated[str, AfterValidator(normal_url("https://comms.twilio.com/v1"))] = Field(
        default="https://comms.twilio.com/v1",
        description="base URL of the API, version included",
        examples=["http://127.0.0.1:8080/v1"],
    )
    account_sid: UserName = Field(
        default=None,
        description="the account SID; the user for `auth_token`, and the account in the store",
        examples=["ACXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX"],
    )
    auth_token: Password = Field(default=None, description="the account's token")
    api_key: UserName = Field(
        default=None,
        description="an API key; with `api_secret` it takes precedence over `auth_token`",
        examples=["SKXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX"],
    )
    api_secret: Password = Field(default=None, description="the API key's secret")
    oauth_client_id: UserName = Field(
        default=None,
        description="client id of OAuth (client credentials); with `oauth_client_secret` it takes "
        "precedence over the others",
        examples=["OQXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX"],
    )
    oauth_client_secret: Password = Field(default=None, description="the OAuth client's secret")
    oauth_token_url: Annotated[
        str, AfterValidator(normal_url("https://oauth.twilio.com/v2/token"))
    ] = Field(
        default="https://oauth.twilio.com/v2/token",
        description="URL of the OAuth token endpoint",
        examples=["http://127.0.0.1:8480/v2/token"],
    )
    timeout: Annotated[Duration, AfterValidator(between("100ms", "5m"))] = Field(
        default=10.0,
        description="time limit of one request, from connecting to the last byte of the answer",
    )
    max_concurrency: Count = Field(
        default=4, ge=1, le=30, description="requests in flight at the same time"
    )
    requests_per_second: Rate = Field(
        default=5.0,
        gt=0,
        le=10_000,
        allow_inf_nan=False,
        description="requests started per second, all kinds together",
    )

    @property
    def credentials(self) -> AnyCredentials | None:
        """A complete OAuth client, else API key, else account and token; None if none is set."""
        if self.oauth_client_id is not None and self.oauth_client_secret is not None:
            return OAuthCredentials(
                client_id=self.oauth_client_id,
                client_secret=self.oauth_client_secret,
                token_url=self.oauth_token_url,
            )
        if self.api_key is not None and self.api_secret is not None:
            return Credentials(username=self.api_key, password=self.api_secret)
        if self.account_sid is not None and self.auth_token is not None:
            return Credentials(username=self.account_sid, password=self.auth_token)
        return None

    def require_credentials(self) -> AnyCredentials:
        """Return the credentials.

        :raises SettingsError: if none are set; it names the variables to set.
        """
        if (found := self.credentials) is not None:
            return found
        missing = missing_credentials(
            key=self.api_key is not None,
            secret=self.api_secret is not None,
            token=self.auth_token is not None,
            client=self.oauth_client_id is not None,
            client_secret=self.oauth_client_secret is not None,
        )
        raise SettingsError([missing])


class PollingSettings(Section):
    """How operations are polled, and which events follow."""

    min_interval: _Interval = Field(
        default=1.0, description="the shortest wait between two polls of one operation"
    )
    max_interval: _Interval = Field(
        default=60.0, description="the longest wait between two polls of one operation"
    )
    progress_interval: Annotated[Duration, AfterValidator(between("0s", "1d"))] = Field(
        default=10.0, description="at most one `operation.progress` per operation in this time"
    )
    settle: Annotated[Duration, AfterValidator(between("0s", "7d"))] = Field(
        default=0.0,
        description="how long a completed operation is polled for late receipts; `0s`: not at all",
    )
    not_found_grace: Annotated[Duration, AfterValidator(between("0s", "1d"))] = Field(
        default=60.0, description="how long 404s must continue before an operation counts as lost"
    )
    schedule_checks: Annotated[Duration, AfterValidator(between("1s", "1d"))] = Field(
        default=900.0,
        description="the longest wait between two polls of a scheduled operation: its first "
        "message may be sent earlier than the schedules that were read",
    )
    breakdown: bool = Field(
        default=False,
        description="read why messages of an ended operation failed, unless its registration says "
        "otherwise",
    )
    include_addresses: Annotated[
        Literal["hidden", "masked", "full"],
        BeforeValidator(_as_addresses),
        WithJsonSchema({"enum": ["hidden", "masked", "full", True, False]}),
    ] = Field(
        default="hidden",
        description="how phone numbers and e-mail addresses appear in events about messages: "
        "`hidden`, `masked` (`true`; such as `+1415•••1002`) or `full`",
    )
    sweep: Literal["auto", "off"] = Field(
        default="auto",
        description="read lists instead of single operations when that needs fewer requests",
    )
    discover: bool = Field(
        default=False, description="also watch operations that were not registered"
    )
    discover_age: Annotated[Duration, AfterValidator(between("1m", "7d"))] = Field(
        default=86_400.0,
        description="the greatest age of an operation that is watched without a registration",
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min_interval > self.max_interval:
            raise fault(
                f"{format_duration(self.min_interval)} is more than polling.max_interval, "
                f"{format_duration(self.max_interval)}",
                "lower it, or raise polling.max_interval",
                field="min_interval",
            )
        return self


class StoreSettings(Section):
    """Where the state is stored."""

    url: Annotated[StoreUrl, AfterValidator(check_store_url)] = Field(
        default=StoreUrl("sqlite:///poller.db"),
        description="SQLite file or PostgreSQL database; under systemd the file is in "
        "`$STATE_DIRECTORY`",
        examples=["postgresql://poller@db.example.com/poller"],
    )
    retention: Annotated[Duration, AfterValidator(between("0s", "3650d"))] = Field(
        default=604_800.0,
        description="how long ended operations and their events are kept; what still waits for "
        "delivery is always kept",
    )


class ServerSettings(Section):
    """The control API."""

    listen: Annotated[str, AfterValidator(check_listen)] = Field(
        default="127.0.0.1:8470",
        description="address of the control API: `host:port`, `unix:/path`, or empty for none",
        examples=["unix:/run/poller/poller.sock"],
    )
    token: Token = Field(
        default=None,
        description="bearer token of the control API; required unless the API listens on loopback "
        "or a unix socket",
    )
    socket_mode: str = Field(
        default="0600", description="permissions of the unix socket, octal", examples=["0660"]
    )
    observe: Annotated[str, AfterValidator(check_listen)] = Field(
        default="",
        description="address of a second listener with health and metrics only, without a token",
        examples=["0.0.0.0:8471"],
    )
    public_url: Annotated[
        str, AfterValidator(normal_url("https://poller.example.com", may_be_empty=True))
    ] = Field(
        default="",
        description="URL of the control API for browsers; messages to chat services link to it",
        examples=["https://poller.example.com"],
    )
    hints: Annotated[str, AfterValidator(check_listen)] = Field(
        default="",
        description="address of a listener for pushes of the vendor's Event Streams: "
        "`host:port`, `unix:/path`, or empty for none",
        examples=["0.0.0.0:8472"],
    )
    hints_user: UserName = Field(
        default=None, description="HTTP Basic user that pushes must send", examples=["twilio"]
    )
    hints_password: Password = Field(
        default=None, description="HTTP Basic password that pushes must send"
    )
    hints_url: Annotated[
        str, AfterValidator(normal_url("https://poller.example.com/v1/hints", may_be_empty=True))
    ] = Field(
        default="",
        description="URL of the listener for the vendor, path included; with it, pushes that are "
        "signed with `api.auth_token` are accepted (`X-Twilio-Signature`)",
        examples=["https://poller.example.com/v1/hints"],
    )

    @property
    def address(self) -> ListenAddress | None:
        """The address of the control API, None for none."""
        return parse_listen(self.listen)

    @property
    def observe_address(self) -> ListenAddress | None:
        """The address of the second listener for the health routes, None for none."""
        return parse_listen(self.observe)

    @property
    def hints_address(self) -> ListenAddress | None:
        """The address of the listener for the vendor's pushes, None for none."""
        return parse_listen(self.hints)

    @property
    def socket_permissions(self) -> int:
        """The mode of the unix socket, as for `os.chmod`."""
        return int(self.socket_mode, 8)

    @field_validator("socket_mode", mode="before")
    @classmethod
    def _octal(cls, value: object) -> object:
        if not isinstance(value, str) or not re.fullmatch(r"0?[0-7]{3}", value, re.ASCII):
            raise fault("not octal permissions", 'write them in quotes, like "0600" or "0660"')
        return value

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        address = self.address
        if isinstance(address, TcpAddress) and not address.is_loopback and self.token is None:
            raise fault(
                "other machines can reach this address, and there is no server.token",
                "set POLLER_SERVER__TOKEN, or listen on 127.0.0.1 or a unix socket",
                field="listen",
            )
        places = {"listen": self.listen}
        for name, place in (("observe", self.observe), ("hints", self.hints)):
            for other, taken in places.items():
                if place and place == taken and not place.endswith(":0"):
                    raise fault(
                        f"the same address as server.{other}", "choose another port", field=name
                    )
            places[name] = place
        if (self.hints_user is None) != (self.hints_password is None):
            absent = "user" if self.hints_user is None else "password"
            raise fault(
                "user and password are needed together",
                f"set server.hints_{absent} as well",
                field=f"hints_{absent}",
            )
        return self


class EngineSettings(Section):
    """The daemon itself."""

    shutdown_grace: Annotated[Duration, AfterValidator(between("0s", "1h"))] = Field(
        default=5.0, description="time for due deliveries when the daemon stops"
    )
    reload_on_change: bool = Field(
        default=True,
        description="apply changes of the configuration file, of secret files and of certificates "
        "within a few seconds, as SIGHUP does; files that leave no configured sink need the signal",
    )


class LogSettings(Section):
    """The log, on standard error."""

    level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(_lower)
    ] = Field(default="info", description="the lowest level of lines that are written")
    format: Literal["auto", "json", "console"] = Field(
        default="auto", description="`auto` is console on a terminal, JSON elsewhere"
    )


class Settings(BaseSettings):
    """All settings of one daemon, checked. This class reads nothing; see `load_settings`."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=False
    )

    api: ApiSettings = Field(default_factory=ApiSettings)
    polling: PollingSettings = Field(default_factory=PollingSettings)
    store: StoreSettings = Field(default_factory=StoreSettings)
    server: ServerSettings = Field(default_factory=ServerSettings)
    engine: EngineSettings = Field(default_factory=EngineSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    sinks: dict[SinkName, SinkSettings] = Field(default_factory=default_sinks)
    alerts: dict[AlertName, AlertSettings] = Field(default_factory=dict)

    @classmethod
    def read(cls, sources: Sequence[PydanticBaseSettingsSource]) -> Self:
        """Merge these sources, the one with the highest precedence first, and check the result.

        :raises pydantic.ValidationError: if it cannot be used.
        """
        token = _sources.set(tuple(sources))
        try:
            return cls()
        finally:
            _sources.reset(token)

    def require_hint_access(self) -> None:
        """Check that forged pushes can be recognized, if hints are accepted at all.

        :raises SettingsError: where neither HTTP Basic nor a signature can be checked.
        """
        server = self.server
        has_basic = server.hints_user is not None and server.hints_password is not None
        has_signature = bool(server.hints_url) and self.api.auth_token is not None
        if server.hints and not has_basic and not has_signature:
            raise SettingsError([missing_hint_access(has_url=bool(server.hints_url))])

    @property
    def account(self) -> str:
        """The name of the account in the store."""
        return self.api.account_sid or "default"

    @field_validator("sinks")
    @classmethod
    def _distinct(cls, sinks: dict[str, SinkSettings]) -> dict[str, SinkSettings]:
        """Refuse two sinks with the same file. Without any sink, add standard output."""
        owners: dict[str, str] = {}
        for name, sink in sinks.items():
            path = str(getattr(sink, "path", ""))
            if path and (other := owners.setdefault(path, name)) != name:
                raise fault(
                    f"writes to the same file as sinks.{other}", "give it another path", field=name
                )
        return sinks or default_sinks()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the base class names it
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Use only arguments and the sources of `read`."""
        return (init_settings, *_sources.get())
