"""How requests leave this machine: the usual proxy and certificate variables, for every client.

`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`, `SSL_CERT_FILE` and `SSL_CERT_DIR` are read
once, for one URL, when a client is made. A client that is given another transport asks
`proxy_for` and `tls_context` for the same answers.
"""

import os
import ssl
from typing import Final
from urllib.request import getproxies, proxy_bypass

import httpx

__all__ = ["EgressError", "open_transport", "proxy_for", "tls_context"]

# Shorter than the idle time of the usual servers and balancers, so that they rarely hang up on us.
_KEEPALIVE_SECONDS: Final = 15.0


class EgressError(ValueError):
    """A proxy or certificate variable that cannot be used; the message names it and the fix."""


def tls_context() -> ssl.SSLContext:
    """Return a context that trusts `SSL_CERT_FILE`, else `SSL_CERT_DIR`, else the bundled roots.

    :raises EgressError: if the file or directory of the variable cannot be read.
    """
    try:
        return httpx.create_ssl_context()
    except OSError as error:  # ssl.SSLError is one
        name = "SSL_CERT_FILE" if os.environ.get("SSL_CERT_FILE") else "SSL_CERT_DIR"
        raise EgressError(
            f"{name} is {os.environ.get(name)!r}, which cannot be used "
            f"({error.strerror or error}); it must be readable and hold PEM certificates"
        ) from None


def proxy_for(url: str) -> httpx.Proxy | None:
    """Return the proxy that the environment asks for on the way to `url`, None for a direct way.

    :raises EgressError: if the variable holds no proxy address; it is not repeated, for it may
        hold a password.
    """
    target = httpx.URL(url)
    proxies = getproxies()
    address = proxies.get(target.scheme) or proxies.get("all")
    port = target.port or (443 if target.scheme == "https" else 80)
    if not address or proxy_bypass(f"{target.host}:{port}"):
        return None
    try:
        return httpx.Proxy(address if "://" in address else f"http://{address}")
    except (ValueError, httpx.InvalidURL):
        raise _bad_proxy(target.scheme) from None


def open_transport(url: str, *, max_connections: int) -> httpx.AsyncHTTPTransport:
    """Return an HTTP/1.1 transport for requests to `url`, as the environment wants them to leave.

    :raises EgressError: if one of the variables cannot be used.
    """
    scheme = httpx.URL(url).scheme
    proxy = proxy_for(url)
    try:
        return httpx.AsyncHTTPTransport(
            # Where nothing is encrypted an empty trust store does, and saves reading the roots.
            verify=tls_context() if scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            trust_env=False,
            proxy=proxy,
            limits=httpx.Limits(
                max_connections=max_connections,
                max_keepalive_connections=max_connections,
                keepalive_expiry=_KEEPALIVE_SECONDS,
            ),
        )
    except ImportError:  # SOCKS wants a package that is not ours
        raise _bad_proxy(scheme) from None


def _bad_proxy(scheme: str) -> EgressError:
    return EgressError(
        f"the proxy that {scheme.upper()}_PROXY or ALL_PROXY names cannot be used; "
        "write it as http://host:port, or name the host of the URL in NO_PROXY"
    )
