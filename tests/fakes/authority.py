"""A certificate authority of our own, made with openssl: a server of 127.0.0.1, and clients."""

import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Final

import pytest

__all__ = ["Authority"]

# an RSA key takes a hundred times as long to make
_NEW_KEY: Final = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"


class Authority:
    """Signs certificates; `ca` is the file of its own."""

    def __init__(self, directory: Path) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("makes certificates with openssl")
        self._directory = directory
        self.ca = directory / "ca.pem"
        self._ca_key = directory / "ca.key"
        self._run(
            *(f"req -x509 {_NEW_KEY} -days 2 -subj /CN=authority".split()),
            *("-keyout", self._ca_key, "-out", self.ca),
        )

    def issue(self, name: str) -> tuple[Path, Path]:
        """Issue a certificate for 127.0.0.1; returns its file and that of its key."""
        certificate, key = self._directory / f"{name}.pem", self._directory / f"{name}.key"
        request, extensions = certificate.with_suffix(".csr"), certificate.with_suffix(".ext")
        extensions.write_text("subjectAltName=IP:127.0.0.1\n")
        self._run(
            *f"req {_NEW_KEY} -subj /CN={name}".split(),
            *("-keyout", key, "-out", request),
        )
        self._run(
            *("x509", "-req", "-days", "2", "-in", request, "-CA", self.ca, "-CAkey"),
            *(self._ca_key, "-CAcreateserial", "-extfile", extensions, "-out", certificate),
        )
        return certificate, key

    def server(self, *, wants_client: bool = False) -> ssl.SSLContext:
        """Return the context of a server; it may want the certificate of a client."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue("server"))
        if wants_client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.ca)
        return context

    def encrypt(self, key: Path) -> Path:
        """Return a copy of a key that needs a password."""
        encrypted = key.with_suffix(".secret")
        self._run("pkey", "-aes128", "-passout", "pass:word", "-in", key, "-out", encrypted)
        return encrypted

    def _run(self, *arguments: object) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)  # noqa: S607 - where it is differs
