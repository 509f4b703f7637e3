"""Authentication, before anything else reads a request.

A request with the token is accepted. Without it, a request from a web page of another origin is
refused. A listener without a token is on loopback or a unix socket. A web page in a browser on this
machine could still reach a loopback port under a name of its own (DNS rebinding), so the `Host`
must be a loopback name, or that of `public_url`, through which an ingress or a tunnel forwards.
"""

import hmac
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from poller.addresses import is_loopback
from poller.server.problems import FORBIDDEN, UNAUTHORIZED, Problem

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""These require no token: probes have none."""


def is_open(path: str) -> bool:
    """Whether a path requires no token: health routes, and the page, which contains no data."""
    return path in OPEN_PATHS or path == "/" or path.startswith("/page/")


class AuthMiddleware:
    """Passes accepted requests to `app`; `checks_host` applies to a TCP port without a token."""

    def __init__(
        self, app: ASGIApp, *, token: SecretStr | None, public_url: str, checks_host: bool
    ) -> None:
        self._app = app
        self._token: bytes | None = None
        self._public_place = ""
        self._checks_host = checks_host
        self.use(token, public_url)

    @property
    def wants_token(self) -> bool:
        """Whether requests must carry the token."""
        return self._token is not None

    def use(self, token: SecretStr | None, public_url: str) -> bool:
        """Require this token (None: no token) from the next request on; False if it is unchanged.

        Pages below `public_url`, empty for none, count as the poller's own.
        """
        before = self._token
        self._token = None if token is None else token.get_secret_value().encode()
        self._public_place = urlsplit(public_url).netloc.lower()
        return self._token != before

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer refused requests; pass on the rest."""
        problem = self._refuse(scope["path"], Headers(scope=scope))
        answer = self._app if problem is None else problem.response
        await answer(scope, receive, send)

    def _refuse(self, path: str, headers: Mapping[str, str]) -> Problem | None:
        if self._token is not None and _has_token(headers, self._token):
            return None
        origin, host = headers.get("origin"), headers.get("host", "")
        own_places = {host.lower(), self._public_place} - {""}
        if origin is not None and origin.partition("://")[2].lower() not in own_places:
            return _FOREIGN_PAGE
        if self._token is not None:
            return None if is_open(path) else _UNAUTHORIZED
        is_own = is_loopback(_host_name(host)) or host.lower() == self._public_place
        if self._checks_host and host and not is_own:
            return Problem(
                FORBIDDEN,
                "the Host of the request is not a name of this machine",
                hint="use localhost or 127.0.0.1; for other names set server.public_url, or "
                "set server.token and send it",
            )
        return None


def _has_token(headers: Mapping[str, str], token: bytes) -> bool:
    scheme, _, given = headers.get("authorization", "").partition(" ")
    # compared even if the scheme is wrong: the time must not depend on the token
    same = hmac.compare_digest(given.strip().encode("latin-1"), token)
    return same and scheme.lower() == "bearer"


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


_FOREIGN_PAGE: Final = Problem(
    FORBIDDEN,
    "the request comes from a web page of another origin",
    hint="browsers cannot call this API from another site (it sends no CORS headers); "
    "let that site's server make the request",
)
_UNAUTHORIZED: Final = Problem(
    UNAUTHORIZED,
    "the bearer token is missing, or differs from server.token",
    hint="send Authorization: Bearer …",
    headers={"WWW-Authenticate": 'Bearer realm="comms-poller"'},
)
