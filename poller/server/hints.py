"""The listener for pushes of the vendor's Event Streams: one route, `POST /v1/hints`.

A forged push is recognized before its body is read: by HTTP Basic, or by the vendor's signature of
the URL, which contains a digest of the body. A forged push is answered 403, a malformed one 400;
the vendor repeats neither. It repeats a push after 503.

A flood of pushes must not keep the event loop from polls and other pushes. So refusals are delayed,
accepted pushes are answered after the next transaction, and above a number of concurrent verified
pushes further ones are refused before their bodies are read.
"""

import hashlib
import hmac
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from urllib.parse import parse_qs, urlsplit

import anyio
from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from poller.addresses import DEFAULT_PORTS, join_host
from poller.engine.hints import HintInbox
from poller.engine.meter import Meter
from poller.log import get_logger
from poller.server.bodies import BodyLimits
from poller.server.control import ClientLimits
from poller.server.problems import (
    CROWDED,
    METHOD,
    SLOW_BODY,
    STORE,
    TOO_LARGE,
    UNKNOWN_PATH,
    UNREADABLE,
    Problem,
    ProblemKind,
    problem_of,
)
from poller.tracking.hint import BadBatch, HintBatch, read_batch
from poller.trouble import TroubleLog

log = get_logger()

PATH: Final = "/v1/hints"
HINT_LIMITS: Final = ClientLimits(
    body_bytes=1024 * 1024,
    body_seconds=5.0,
    head_seconds=10.0,
    # if the vendor opens a connection for each push, many are idle
    keep_alive_seconds=2.0,
    connections=256,
)
FORGED: Final = ProblemKind(name="forged", status=403, title="Not from the vendor")
_ACCEPTED: Final = "accepted"
_REFUSALS: Final = (
    FORGED,
    UNREADABLE,
    TOO_LARGE,
    SLOW_BODY,
    STORE,
    CROWDED,
    UNKNOWN_PATH,
    METHOD,
)
PUSH_OUTCOMES: Final = (_ACCEPTED, *(kind.name for kind in _REFUSALS))
"""The results of pushes, for metrics."""
_QUIET: Final = timedelta(minutes=1)
# verified pushes that are processed at the same time, which bounds the bodies in memory
_MOST_AT_ONCE: Final = 50
# seconds from a push to its refusal: this and the number of connections bound the refusal rate
_REFUSED_AFTER: Final = 0.5
_DIGEST: Final = "bodySHA256"


@dataclass(frozen=True, slots=True, kw_only=True)
class HintAccess:
    """How forged pushes are recognized: by HTTP Basic, by a signature, or by either.

    `url` is the address as the vendor sees it, signed with `auth_token`; empty for no signature.
    """

    user: str | None = None
    password: SecretStr | None = None
    url: str = ""
    auth_token: SecretStr | None = None

    def check(self, headers: Mapping[str, str], query: bytes) -> str | None:
        """Check the head of a push; return the digest that its body must have, None for any.

        :raises Problem: where it is forged.
        """
        if self.user is not None and self.password is not None and "authorization" in headers:
            if _is_basic(headers["authorization"], self.user, self.password):
                return None
            raise Problem(
                FORGED, "the credentials are not server.hints_user and server.hints_password"
            )
        if self.url and self.auth_token is not None and "x-twilio-signature" in headers:
            return self._check_signature(headers["x-twilio-signature"], query, self.auth_token)
        raise Problem(FORGED, "neither the required credentials nor the vendor's signature")

    def _check_signature(self, signature: str, query: bytes, token: SecretStr) -> str:
        text = query.decode("latin-1")
        digests = parse_qs(text).get(_DIGEST, [])
        signed = [sign(token, f"{url}?{text}") for url in _spellings(self.url)]
        # all are compared, even after a match: the time must not depend on the token
        fits = [hmac.compare_digest(one.encode(), signature.encode("latin-1")) for one in signed]
        if not any(fits) or len(digests) != 1:
            raise Problem(
                FORGED,
                "the signature is not that of server.hints_url with api.auth_token",
                hint="server.hints_url must be exactly the address in the vendor's sink",
            )
        return digests[0].lower()


def sign(token: SecretStr, url: str) -> str:
    """Sign a URL as the vendor does."""
    digest = hmac.new(token.get_secret_value().encode(), url.encode(), hashlib.sha1).digest()
    return b64encode(digest).decode()


def _spellings(url: str) -> tuple[str, ...]:
    """Return a URL without and with its scheme's default port: the vendor signs either form.

    A URL with an explicit port has one form.
    """
    parts = urlsplit(url)
    if parts.port is not None:
        return (url,)
    place = join_host(parts.hostname or "", DEFAULT_PORTS[parts.scheme])
    return url, parts._replace(netloc=place).geturl()


def _is_basic(header: str, user: str, password: SecretStr) -> bool:
    scheme, _, encoded = header.partition(" ")
    try:
        given = b64decode(encoded.strip(), validate=True)
    except (ValueError, Base64Error):
        return False
    expected = f"{user}:{password.get_secret_value()}".encode()
    return hmac.compare_digest(given, expected) and scheme.lower() == "basic"


class HintsApp:
    """Answers pushes within a second; `use` changes how forged ones are recognized."""

    def __init__(self, inbox: HintInbox, access: HintAccess, *, meter: Meter) -> None:
        self._inbox = inbox
        self._access = access
        self._meter = meter
        self._troubles = TroubleLog(quiet=_QUIET)
        self._free = anyio.Semaphore(_MOST_AT_ONCE)

    def use(self, access: HintAccess) -> None:
        """Check further pushes in this way."""
        self._access = access

    def limited(self, limits: ClientLimits) -> ASGIApp:
        """Return the application, with bodies limited."""
        return BodyLimits(
            self, limits=limits, hint="let the vendor's sink use smaller batches, or none"
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a push."""
        begun = anyio.current_time()
        try:
            response = await self._answer(scope, receive)
        except Problem as problem:
            self._note(problem)
            await anyio.sleep_until(begun + _REFUSED_AFTER)
            response = problem.response
        except Exception as error:
            log.exception("server.defect", method=scope["method"], path=scope["path"])
            response = problem_of(error).response
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        if scope["path"] != PATH:
            raise Problem(UNKNOWN_PATH, f"the only path is {PATH}")
        if scope["method"] != "POST":
            raise Problem(METHOD, "this path has POST", headers={"Allow": "POST"})
        digest = self._access.check(Headers(scope=scope), scope["query_string"])
        with self._admitted():
            batch = _parse(await _read(receive, digest))
            if not await self._inbox.take(batch):
                raise Problem(
                    STORE,
                    "the store has not accepted the hints in time",
                    headers={"Retry-After": "1"},
                )
        self._troubles.success(log, "hints.refused", "hints.accepted")
        self._meter.pushed(_ACCEPTED)
        return Response(status_code=204)

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        """Count a verified push while it is processed.

        :raises Problem: where there are too many.
        """
        try:
            self._free.acquire_nowait()
        except anyio.WouldBlock:
            raise Problem(
                CROWDED,
                f"{_MOST_AT_ONCE} pushes are being processed already",
                hint="let the vendor's sink batch its events",
                headers={"Retry-After": "1"},
            ) from None
        try:
            yield
        finally:
            self._free.release()

    def _note(self, problem: Problem) -> None:
        self._meter.pushed(problem.kind.name)
        if problem.kind not in {STORE, CROWDED}:
            self._troubles.failure(
                log,
                "hints.refused",
                cause=problem.kind.name,
                error=problem.detail,
                hint=problem.hint,
            )


def _parse(body: bytes) -> HintBatch:
    try:
        return read_batch(body)
    except BadBatch as error:
        raise Problem(UNREADABLE, str(error)) from None


async def _read(receive: Receive, digest: str | None) -> bytes:
    """Read the body, which must have that digest.

    :raises Problem: where it has another one, or does not arrive.
    """
    parts: list[bytes] = []
    has_more = True
    while has_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem(UNREADABLE, "the client disconnected")
        parts.append(message.get("body", b""))
        has_more = message.get("more_body", False)
    body = b"".join(parts)
    if digest is not None and hashlib.sha256(body).hexdigest() != digest:
        raise Problem(FORGED, "the body is not the one that was signed")
    return body
