"""The model: which credentials are used, and what is shown of addresses."""

from collections.abc import Callable

import pytest
from pydantic import ValidationError

from poller.comms.credentials import Credentials, OAuthCredentials
from poller.settings import Loaded, Settings, SettingsError
from poller.settings.model import PollingSettings

Load = Callable[..., Loaded]
ACCOUNT = {"TWILIO_ACCOUNT_SID": "AC1", "TWILIO_AUTH_TOKEN": "t"}
KEY = {"TWILIO_API_KEY": "SK1", "TWILIO_API_SECRET": "s"}


@pytest.mark.parametrize(
    ("env", "user"),
    [
        (ACCOUNT, "AC1"),
        (KEY, "SK1"),
        ({**ACCOUNT, **KEY}, "SK1"),
        ({**ACCOUNT, "TWILIO_API_KEY": "SK1"}, "AC1"),
        ({**ACCOUNT, **KEY, "TWILIO_API_SECRET": ""}, "AC1"),
    ],
)
def test_a_complete_key_beats_the_token(load: Load, env: dict[str, str], user: str) -> None:
    """An API key needs no account and comes first, if both halves are there."""
    credentials = load(env=env).settings.api.require_credentials()
    assert isinstance(credentials, Credentials)
    assert credentials.username == user


def test_a_complete_oauth_client_beats_both(load: Load) -> None:
    """The account's token may be there for the signature of hints only."""
    env = {**ACCOUNT, **KEY, "POLLER_API__OAUTH_CLIENT_ID": "OQ1"}
    half = load(env=env).settings.api.require_credentials()
    assert isinstance(half, Credentials)
    env["POLLER_API__OAUTH_CLIENT_SECRET"] = "s"
    whole = load(env=env).settings.api.require_credentials()
    assert isinstance(whole, OAuthCredentials)
    assert (whole.client_id, whole.token_url) == ("OQ1", "https://oauth.twilio.com/v2/token")


@pytest.mark.parametrize(
    ("env", "field", "variable"),
    [
        ({}, "api", "TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN, or TWILIO_API_KEY"),
        ({"TWILIO_ACCOUNT_SID": "AC1"}, "api", "TWILIO_AUTH_TOKEN"),
        ({"TWILIO_AUTH_TOKEN": "t"}, "api.account_sid", "TWILIO_ACCOUNT_SID"),
        (
            {"POLLER_API__OAUTH_CLIENT_ID": "OQ1"},
            "api.oauth_client_secret",
            "POLLER_API__OAUTH_CLIENT_SECRET",
        ),
        ({"TWILIO_API_KEY": "SK1"}, "api.api_secret", "TWILIO_API_SECRET"),
        ({"TWILIO_API_SECRET": "s"}, "api.api_key", "TWILIO_API_KEY"),
        ({**KEY, "TWILIO_API_SECRET": " "}, "api.api_secret", "TWILIO_API_SECRET"),
    ],
)
def test_missing_halves_are_named(
    load: Load, env: dict[str, str], field: str, variable: str
) -> None:
    """Without a complete pair the message names what to set; loading itself is no error."""
    api = load(env=env).settings.api
    assert api.credentials is None
    with pytest.raises(SettingsError) as caught:
        api.require_credentials()
    assert caught.value.problems[0].field == field
    assert variable in caught.value.problems[0].fix


def test_settings_read_nothing_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model takes arguments only: it does not read the environment."""
    monkeypatch.setenv("API", '{"timeout": 1}')
    monkeypatch.setenv("LOG", "not even JSON")
    assert Settings().api.timeout == 10.0
    assert Settings().api.account_sid is None


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (True, "masked"),
        ("true", "masked"),
        (False, "hidden"),
        ("FALSE", "hidden"),
        ("Masked", "masked"),
        ("full", "full"),
    ],
)
def test_whoever_asks_for_addresses_gets_them_masked(given: object, meant: str) -> None:
    """Whole ones have to be asked for by their name."""
    assert PollingSettings.model_validate({"include_addresses": given}).include_addresses == meant


@pytest.mark.parametrize("given", ["yes", 1, None, "all"])
def test_a_word_that_means_nothing_is_refused(given: object) -> None:
    """Nobody should wonder what is shown."""
    with pytest.raises(ValidationError, match="'hidden', 'masked' or 'full'"):
        PollingSettings.model_validate({"include_addresses": given})


def test_nothing_personal_is_shown_by_default() -> None:
    """And nothing is read that nobody asked for."""
    polling = PollingSettings()
    assert (polling.include_addresses, polling.breakdown) == ("hidden", False)
