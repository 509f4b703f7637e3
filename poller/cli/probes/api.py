"""A check of the credentials: one cheap request."""

from typing import Final

from poller.build import make_client
from poller.cli.probes.report import Finding
from poller.comms.credentials import OAuthCredentials
from poller.comms.errors import CommsError, DeadlineExceeded, NotFound, Scope, ServerError
from poller.comms.kinds import DEFAULT_KIND
from poller.http.route import EgressError
from poller.settings import Loaded, SettingsError

_SUBJECT: Final = "api"


async def probe_credentials(loaded: Loaded) -> Finding:
    """List one operation, and report the result."""
    settings = loaded.settings
    try:
        async with make_client(settings) as client:
            await client.list_operations(DEFAULT_KIND, page_size=1)
    except SettingsError as error:
        missing = error.problems[0]
        return Finding.problem(_SUBJECT, missing.what, fix=missing.fix, is_usage=True)
    except EgressError as error:
        return Finding.problem(_SUBJECT, error.message, fix=error.fix, is_usage=True)
    except CommsError as error:
        return _refusal(error, loaded)
    return Finding.ok(_SUBJECT, f"{settings.api.base_url} accepts the credentials")


def _refusal(error: CommsError, loaded: Loaded) -> Finding:
    message, fix = _explain(error, loaded)
    return Finding.problem(_SUBJECT, message, fix=fix)


def _explain(error: CommsError, loaded: Loaded) -> tuple[str, str]:
    """Return what happened and what to do; the error's own hints are meant for a daemon's log."""
    kind = DEFAULT_KIND.name
    match error.scope:
        case Scope.CREDENTIALS:
            words = "refuses the credentials", f"check {_pair(loaded)}"
        case Scope.KIND:
            words = f"accepts the credentials, but not for operations of kind {kind}", error.hint
        case Scope.ACCOUNT:
            wait = "a minute" if error.retry_after is None else f"{error.retry_after:.0f} s"
            words = "is throttling, so the credentials are unchecked", f"check again in {wait}"
        case Scope.CONNECTION if isinstance(error, DeadlineExceeded):
            fix = "check the network path, or raise api.timeout"
            words = "does not answer in time", error.own_hint or fix
        case Scope.CONNECTION:
            words = "cannot be reached", error.own_hint or "check api.base_url and the network path"
        case Scope.REQUEST if isinstance(error, NotFound):
            fix = "check api.base_url, version included, such as https://comms.twilio.com/v1"
            words = f"has no operations of kind {kind}", fix
        case _ if isinstance(error, ServerError):
            words = "answers with an error", "check again later"
        case _:
            fix = "check api.base_url, and proxies between here and there"
            words = "gives an answer that is not the API's", error.own_hint or fix
    happened, fix = words
    return f"{loaded.settings.api.base_url} {happened}: {error.answered}", fix


def _pair(loaded: Loaded) -> str:
    """Name the two settings that were used, and where each came from."""
    api = loaded.settings.api
    if isinstance(api.credentials, OAuthCredentials):
        names: tuple[str, ...] = ("api.oauth_client_id", "api.oauth_client_secret")
        return " and ".join(f"{name} ({loaded.origins[name]})" for name in names)
    is_key = api.api_key is not None and api.api_secret is not None
    names = ("api.api_key", "api.api_secret") if is_key else ("api.account_sid", "api.auth_token")
    return " and ".join(f"{name} ({loaded.origins[name]})" for name in names)
