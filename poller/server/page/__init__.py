"""The page for browsers: static files that use the public control API.

Its routes contain no data, so they require no token. The headers below isolate it: it loads nothing
from another host, inline scripts do not run, and no other page may frame it.
"""

from collections.abc import Mapping
from functools import cache
from hashlib import blake2b
from importlib.resources import files
from typing import Annotated, Final

from fastapi import APIRouter, Header, Response

from poller.server.problems import UNKNOWN_PATH, Problem

router = APIRouter(include_in_schema=False)

_INDEX: Final = "index.html"
_MEDIA_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_HEADERS: Final = {
    # revalidated at every visit, and answered with 304 while it is unchanged
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

KnownTag = Annotated[str | None, Header(alias="If-None-Match")]


@router.get("/")
def index(known: KnownTag = None) -> Response:
    """Serve the page."""
    return _file(_INDEX, known)


@router.get("/page/{name}")
def asset(name: str, known: KnownTag = None) -> Response:
    """Serve a file of the page."""
    return _file(name, known)


def _file(name: str, known: str | None) -> Response:
    """Answer with a file of this package, or with 304 if the browser has it."""
    content = _contents().get(name)
    if content is None:
        raise Problem(UNKNOWN_PATH, f"/page/{name[:80]} is no part of the page")
    tag = f'"{blake2b(content, digest_size=12).hexdigest()}"'
    headers = {**_HEADERS, "ETag": tag}
    if known == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=_MEDIA_TYPES[name.rpartition(".")[2]], headers=headers)


@cache
def _contents() -> Mapping[str, bytes]:
    """Read the files once, in the worker thread of the first request."""
    return {
        file.name: file.read_bytes()
        for file in files(__name__).iterdir()
        if file.name.rpartition(".")[2] in _MEDIA_TYPES
    }
