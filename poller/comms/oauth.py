"""OAuth client credentials: access tokens, requested when needed and renewed before they expire."""

import json
import os
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

import anyio
import httpx
from pydantic import SecretStr

from poller import __version__
from poller.comms.credentials import OAuthCredentials
from poller.comms.errors import CommsError, Fault, NetworkError, Unauthorized, Unexpected
from poller.comms.transport import Answer, exchange, read_refusal
from poller.http.route import EgressError, Route, find_route
from poller.http.transport import open_transport

_LARGEST: Final = 64 * 1024
_ACTION: Final = "get an OAuth token"
_USUAL_LIFE: Final = 3600.0
# a token is renewed when this share of its lifetime is left, at least these seconds before its end
_SPARE: Final = 0.1
_SPARE_SECONDS: Final = 60.0
_TRY_AGAIN: Final = 10.0
_BUSY: Final = 429
_REMEDY: Final = (
    "check api.oauth_client_id, api.oauth_client_secret and api.oauth_token_url; "
    "they are read again before each probe"
)


class TokenSource:
    """Provides the `Authorization` header of requests, and requests tokens as they are needed.

    Concurrent callers wait for one request. `transport` replaces the usual one. `now` returns the
    time in UTC.
    """

    def __init__(
        self,
        credentials: OAuthCredentials,
        *,
        now: Callable[[], datetime],
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.credentials = credentials
        self._now = now
        self._given_transport = transport
        self._transport: httpx.AsyncBaseTransport | None = None
        self._route = Route.direct(credentials.token_url)
        self._turn = anyio.Lock()
        self._token: SecretStr | None = None
        self._renew_at = self._ends_at = 0.0

    async def authorization(self, *, timeout: float) -> str:  # noqa: ASYNC109 - it becomes the error that says so
        """Return the header with a valid token.

        :raises Unauthorized: where the service refuses the client.
        :raises CommsError: where a new token cannot be requested, and the last one has expired.
        """
        async with self._turn:
            now = anyio.current_time()
            if self._token is None or now >= self._renew_at:
                try:
                    await self._request(timeout)
                except CommsError:
                    if self._token is None or now >= self._ends_at:
                        raise
                    # the last token is still valid: do not try again at each request of the API
                    self._renew_at = now + _TRY_AGAIN
            return "" if self._token is None else _bearer(self._token)

    def reject(self, authorization: str) -> None:
        """Drop this token, which the API has refused: the next request gets another one."""
        if self._token is not None and _bearer(self._token) == authorization:
            self._token = None

    def redact(self, text: str) -> str:
        """Return `text` without the secret and the token: an answer may echo them."""
        for secret in (self.credentials.client_secret, self._token):
            if secret is not None and secret.get_secret_value():
                text = text.replace(secret.get_secret_value(), "**********")
        return text

    async def aclose(self) -> None:
        """Close the connection to the service."""
        if self._transport is not None and self._given_transport is None:
            await self._transport.aclose()

    async def _request(self, timeout: float) -> None:  # noqa: ASYNC109 - as above
        begun = anyio.current_time()
        answer = await exchange(
            self._opened(),
            self._token_request(),
            route=self._route,
            action=_ACTION,
            limit=_LARGEST,
            timeout=timeout,
        )
        if not answer.successful:
            raise self._refusal(answer)
        token, life = _read(answer)
        self._token = SecretStr(token)
        self._ends_at = begun + life
        self._renew_at = self._ends_at - min(life / 2, max(_SPARE_SECONDS, life * _SPARE))

    def _opened(self) -> httpx.AsyncBaseTransport:
        if self._transport is None:
            try:
                url = self.credentials.token_url
                self._route = (
                    find_route(url, os.environ) if self._given_transport is None else self._route
                )
                self._transport = self._given_transport or open_transport(
                    self._route, max_connections=1
                )
            except EgressError as error:
                raise NetworkError(
                    _ACTION, error.message, hint=error.fix, fault=Fault.CONFIGURATION
                ) from None
        return self._transport

    def _token_request(self) -> httpx.Request:
        form = {
            "grant_type": "client_credentials",
            "client_id": self.credentials.client_id,
            "client_secret": self.credentials.client_secret.get_secret_value(),
        }
        return httpx.Request(
            "POST",
            self.credentials.token_url,
            content=urlencode(form).encode(),
            headers={
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "Content-Type": "application/x-www-form-urlencoded",
                "User-Agent": f"comms-poller/{__version__}",
            },
        )

    def _refusal(self, answer: Answer) -> CommsError:
        """Return the error for a refusal; one of the client pauses the account, as a 401 does."""
        if 400 <= answer.status < 500 and answer.status != _BUSY:  # noqa: PLR2004 - RFC 9110, 15.5
            happened = f"{self.credentials.token_url} refuses the client with {answer.status}"
            return Unauthorized(_ACTION, happened, status=answer.status, hint=_REMEDY)
        return read_refusal(answer, action=_ACTION, now=self._now(), redact=self.redact)


def _bearer(token: SecretStr) -> str:
    return f"Bearer {token.get_secret_value()}"


def _read(answer: Answer) -> tuple[str, float]:
    """Return a token and its lifetime in seconds.

    :raises Unexpected: where there is none. The message does not quote the answer, which may
        contain a token.
    """
    try:
        document: Any = json.loads(answer.body)
        token, life = document["access_token"], document.get("expires_in", _USUAL_LIFE)
        seconds = float(life)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        raise Unexpected(_ACTION, "the answer holds no token", status=answer.status) from None
    is_token = isinstance(token, str) and token.isascii() and token.isprintable() and token
    if not is_token or " " in token or not 0 < seconds < float("inf"):
        raise Unexpected(_ACTION, "the answer holds no usable token", status=answer.status)
    return token, seconds
